package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"cratelog/cargo"
	"cratelog/cargo/registry"
)

// proxyName marks the lines of the proxy in cargo's configuration. proxySource is the source's
// name there: cargo prints it, also when it cannot connect, so it says what to start.
const (
	proxyName   = "cratelog"
	proxySource = "cratelog (cargo zkp proxy)"
)

// realIndex returns the sparse index of the registry that stands behind the proxy: the
// one that was named, or else the one that cargo would use in a directory if there were
// no proxy. No registry's address is built in: cargo's own default is what cargo has
// recorded in its home, or what it does when it is asked.
func realIndex(ctx context.Context, named, dir, home string) (string, error) {
	if named != "" {
		return registry.SparseURL(named)
	}
	config, err := cargo.LoadConfig(dir, home)
	if err != nil {
		return "", err
	}
	source, err := config.Behind(proxySource, proxyName)
	switch {
	case err != nil:
		return "", err
	case source.Because != "" && source.Kind != "registry":
		return "", noRegistry(source)
	case source.At != "":
		return registry.IndexURL(source.At)
	}
	if index, ok := config.Registry(cargo.DefaultSource); ok {
		return registry.IndexURL(index)
	}
	index, err := registry.DefaultIndex(home)
	if errors.Is(err, registry.ErrNoIndex) {
		if asked, askErr := askCargo(ctx); askErr == nil {
			return asked, nil
		}
		return "", fmt.Errorf("%w\npass it with --index URL", err)
	}
	return index, err
}

// noRegistry says why there is nothing that a proxy could stand before.
func noRegistry(source cargo.Source) error {
	return fmt.Errorf("%s has cargo take its crates from a %s, %s: there is nothing for a proxy to ask\ncheck those "+
		"crates with \"cargo zkp verify\"", source.Because, source.Kind, source.At)
}

// askCargo finds out which host cargo asks for its default registry's index: it runs
// cargo with no configuration and with an HTTP proxy that writes down where cargo wants
// to go, and goes nowhere.
func askCargo(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	hosts := make(chan string, 16)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go answerConnect(c, hosts)
		}
	}()
	dir, err := os.MkdirTemp("", "cratelog-ask-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	cmd := exec.CommandContext(ctx, cargoBin(), "--config", "net.retry=0", "--config", fmt.Sprintf("http.proxy=%q",
		"http://"+l.Addr().String()), "info", "a", "--registry", cargo.DefaultSource)
	cmd.Dir = dir
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if name = strings.ToUpper(name); name != "NO_PROXY" && !strings.HasPrefix(name, "CARGO_REGISTR") &&
			name != "CARGO_HOME" {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, "CARGO_HOME="+dir)
	cmd.Run() // it fails: it cannot connect
	select {
	case host := <-hosts:
		return "https://" + host + "/", nil
	default:
		return "", registry.ErrNoIndex
	}
}

// answerConnect reads one CONNECT request and refuses it.
func answerConnect(c net.Conn, hosts chan<- string) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil || r.Method != http.MethodConnect {
		return
	}
	select {
	case hosts <- strings.TrimSuffix(r.Host, ":443"):
	default:
	}
	fmt.Fprint(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

// cargoBin returns the cargo that called, or the one on the PATH.
func cargoBin() string {
	if bin := os.Getenv("CARGO"); bin != "" {
		return bin
	}
	return "cargo"
}
