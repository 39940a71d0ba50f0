package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"cratelog/config"
	"cratelog/internal/daemon"
	"cratelog/internal/web"
	"cratelog/log"
	"cratelog/log/storage"
)

// s3Table is the section that says where a tree lies that several machines share.
type s3Table struct {
	Endpoint    string `toml:"endpoint"`
	Region      string `toml:"region"`
	Bucket      string `toml:"bucket"`
	PathStyle   bool   `toml:"path_style"`
	Credentials string `toml:"credentials_file"`
}

// clusterTable is the section of one process of several.
type clusterTable struct {
	Database    string          `toml:"database_file"`
	Memory      string          `toml:"memory_file"`
	Secret      string          `toml:"secret_file"`
	Lead        bool            `toml:"lead"`
	PeersListen string          `toml:"peers_listen"`
	Address     string          `toml:"address"`
	Lease       config.Duration `toml:"lease"`
	AddDeadline config.Duration `toml:"add_deadline"`
}

// shared says whether the tree is one that machines share, and refuses settings that go with the other kind.
func (s *settings) shared(path string) (bool, error) {
	switch {
	case s.Storage != "" && s.Storage != "posix" && s.Storage != "s3":
		return false, fmt.Errorf("%s: storage is %q: it must be posix or s3", path, s.Storage)
	case s.Storage != "s3" && (s.S3 != s3Table{} || s.Cluster != clusterTable{}):
		return false, fmt.Errorf("%s: [s3] and [cluster] are for storage = \"s3\"", path)
	case s.Storage == "s3" && s.Tree != "":
		return false, fmt.Errorf("%s: tree is for storage = \"posix\": with s3 the tree lies in the bucket of [s3]", path)
	case s.Cluster.Lead != (s.Cluster.PeersListen != "") || s.Cluster.Lead != (s.Cluster.Address != ""):
		return false, fmt.Errorf("%s: [cluster]: lead = true needs peers_listen and address, and they need it: others ask only "+
			"the process that leads", path)
	}
	return s.Storage == "s3", nil
}

// sharedNeeds adds what a tree that machines share needs.
func (s *settings) sharedNeeds(required map[string]string, readOnly bool) {
	required["s3.bucket"], required["cluster.database_file"] = s.S3.Bucket, s.Cluster.Database
	required["cluster.memory_file"] = s.Cluster.Memory
	if !readOnly {
		required["cluster.secret_file"] = s.Cluster.Secret
	}
}

// cluster reads the files that the two sections name, which are relative to the settings at path.
func (s *settings) cluster(path string) (*log.Cluster, error) {
	c := &log.Cluster{
		Tree: storage.S3{Endpoint: s.S3.Endpoint, Region: s.S3.Region, Bucket: s.S3.Bucket, PathStyle: s.S3.PathStyle,
			AddDeadline: s.Cluster.AddDeadline.Duration},
		Address: s.Cluster.Address, Lead: s.Cluster.Lead, Lease: s.Cluster.Lease.Duration,
	}
	var secret string
	for _, f := range []struct {
		name, file string
		to         []*string
	}{
		{"s3.credentials_file", s.S3.Credentials, []*string{&c.Tree.AccessKey, &c.Tree.SecretKey}},
		{"cluster.database_file", s.Cluster.Database, []*string{&c.Tree.Database}},
		{"cluster.memory_file", s.Cluster.Memory, []*string{&c.Memory}},
		{"cluster.secret_file", s.Cluster.Secret, []*string{&secret}},
	} {
		if f.file == "" {
			continue
		}
		name, text, err := config.ReadSecret(path, f.file)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", path, f.name, err)
		}
		lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
		if len(lines) != len(f.to) {
			return nil, fmt.Errorf("%s: %s: %s must hold %d lines, and has %d", path, f.name, name, len(f.to), len(lines))
		}
		for i, line := range lines {
			if line == "" || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) {
				return nil, fmt.Errorf("%s: %s: line %d of %s is empty or has characters that are not printable ASCII", path, f.name,
					i+1, name)
			}
			*f.to[i] = line
		}
	}
	c.Secret = []byte(secret)
	return c, nil
}

// peerServer is where other processes of the log reach this one; nil: nowhere.
type peerServer struct {
	*http.Server
	listener net.Listener
}

// listenPeers takes the address for other processes, if there is one.
func listenPeers(file string, s settings, cfg log.Config) (*peerServer, error) {
	if s.Cluster.PeersListen == "" || cfg.ReadOnly {
		return nil, nil
	}
	l, err := daemon.Listen(s.Cluster.PeersListen, "peers_listen", file)
	if err != nil {
		return nil, err
	}
	return &peerServer{listener: l}, nil
}

// serve answers them in the background.
func (p *peerServer) serve(l *log.Live, logger *slog.Logger, most int) {
	if p == nil {
		return
	}
	p.Server = newServer(l.Peers())
	p.ErrorLog = slog.NewLogLogger(logger.Handler(), slog.LevelWarn)
	logger.Info("other processes of the log are answered", "address", p.listener.Addr().String())
	go func() {
		if err := p.Serve(web.Limit(p.listener, most)); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("other processes of the log are not answered any longer", "err", err)
		}
	}()
}

// Close lets go of the address.
func (p *peerServer) Close() error {
	switch {
	case p == nil:
		return nil
	case p.Server == nil:
		return p.listener.Close()
	}
	return p.Server.Close()
}
