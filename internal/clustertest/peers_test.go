//go:build peers

package clustertest

func init() { stores["versitygw"] = Versity }
