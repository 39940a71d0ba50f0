//go:build !linux

package sandbox

import "context"

func run(context.Context, Spec) (Used, error) {
	return Used{}, &Refused{Why: NotLinux}
}
