// Command look opens pages in a headless Chromium at 320, 390 and 1280 pixels, light and dark, writes
// screenshots, and prints what is wrong: what axe-core finds, pages that scroll sideways, errors on the
// console, and requests to other origins.
//
//	go run ./internal/browser/look -o DIR URL...
//
// It needs chromium and, for axe-core, npm. The exit status is 1 if something is wrong.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"

	"cratelog/internal/browser"
	"cratelog/internal/outcome"
)

func main() {
	dir := flag.String("o", "", "directory for the screenshots; none are written without it")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(outcome.Exit("look", look(ctx, *dir, flag.Args(), os.Stdout), os.Stderr))
}

// odd is what no name of a file should have.
var odd = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

func look(ctx context.Context, dir string, urls []string, out io.Writer) error {
	if dir != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	axe, err := browser.Axe(ctx)
	if err != nil {
		return err
	}
	b, err := browser.Start(ctx)
	if err != nil {
		return err
	}
	defer b.Close()
	wrong := 0
	for _, u := range urls {
		for _, v := range browser.Views {
			p, err := b.Page(v)
			if err == nil {
				err = p.Open(u)
			}
			if err != nil {
				return err
			}
			found, err := p.Check(axe)
			if err != nil {
				return err
			}
			for _, f := range found {
				fmt.Fprintf(out, "%s at %v: %s\n", u, v, f)
				wrong++
			}
			if dir != "" {
				_, path, _ := strings.Cut(u, "://")
				if err := p.Screenshot(filepath.Join(dir, odd.ReplaceAllString(path, "_")+"-"+v.String()+".png")); err != nil {
					return err
				}
			}
			if err := p.Close(); err != nil {
				return err
			}
		}
	}
	if wrong > 0 {
		return outcome.Refusef("%d things are wrong", wrong)
	}
	return nil
}
