package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cratelog/cargo"
	"cratelog/cargo/policy"
	"cratelog/cargo/registry"
	"cratelog/client"
	"cratelog/config"
	"cratelog/entry"
	"cratelog/evidence"
	"cratelog/internal/gitobject"
	"cratelog/internal/testlog"
	"cratelog/proofcheck"
	"cratelog/testdata"
)

// text is an attack by a text, which a parser reads whole.
func text[T any](make func(size int) string, parse func(b []byte) (T, error)) attack {
	return attack{func(size int) []byte { return []byte(make(size)) }, func(file string) error {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		_, err = parse(b)
		return err
	}}
}

// at is text for a parser that reads a file of a certain name.
func at[T any](name string, make func(size int) string, parse func(file string) (T, error)) attack {
	a := text(make, func([]byte) (int, error) { return 0, nil })
	a.read = func(file string) error {
		moved := filepath.Join(filepath.Dir(file), name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(moved), 0o700), os.Link(file, moved)); err != nil {
			return err
		}
		defer os.Remove(moved)
		_, err := parse(moved)
		return err
	}
	return a
}

const (
	origin  = "example.com/log"
	zeros   = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n" // 32 bytes
	checked = "0000000000000000000000000000000000000000000000000000000000000000"
)

var (
	logKey  = testlog.LogKey(origin)
	witness = testlog.WitnessKey("w.example", time.Unix(1, 0))
	trust   = "log " + logKey.VKey + "\nwitness w " + witness.VKey + "\nquorum w\n"
)

// bundle is a true bundle with signature lines that nobody needs.
func bundle(size int) string {
	leaf := testlog.Must(testdata.Files.ReadFile("hello-proof-0.1.0.entry"))
	tree := testlog.NewTree(leaf)
	tree.Seal()
	signed := testlog.Sign(tree.Head(origin, 2), logKey, witness)
	more := lines("", "\u2014 "+strings.Repeat("a", 1000)+"%d "+base64.StdEncoding.EncodeToString(make([]byte, 68))+"\n")
	return string(tree.Bundle(0, 2, append(signed, more(min(size, 95_000))...)))
}

// rows is a page of a log's index with as many empty rows as fit.
func rows(size int) string {
	n := size / 4 // bytes of a row, in base64
	extra := append([]byte{0xa3, 0x02, 0x40, 0x06, 0x9a}, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	extra = append(append(extra, bytes.Repeat([]byte{0x82, 0x40, 0x40}, n)...), 0x07, 0x40)
	return "c2sp.org/tlog-proof@v1\nextra " + base64.StdEncoding.EncodeToString(extra) + "\nindex 1\n\nx\n"
}

func openBundle(b []byte) (*client.Result, error) {
	p, err := client.ParsePolicy([]byte(trust))
	if err != nil {
		return nil, err
	}
	v, err := proofcheck.Load(nil, true)
	if err != nil {
		return nil, err
	}
	return client.VerifyBundle(b, p, v, client.DefaultRules())
}

// nestedGroups is a trust file in which each group holds the one before it twice.
func nestedGroups(size int) string {
	var b strings.Builder
	b.WriteString("log " + logKey.VKey + "\nwitness w " + witness.VKey + "\ngroup g0 all w\n")
	i := 0
	for ; b.Len() < min(size, client.MaxPolicySize-200); i++ {
		fmt.Fprintf(&b, "group g%d any g%d g%d\n", i+1, i, i)
	}
	fmt.Fprintf(&b, "quorum g%d\n", i)
	return b.String()
}

// manyWitnesses is one with a witness on each line, whose keys are all checked.
func manyWitnesses(size int) string {
	var b strings.Builder
	b.WriteString("log " + logKey.VKey + "\n")
	for i := 0; b.Len() < min(size, client.MaxPolicySize-200); i++ {
		fmt.Fprintf(&b, "witness w%d %s\n", i, testlog.WitnessKey(fmt.Sprintf("w%d.example", i), time.Unix(1, 0)).VKey)
	}
	return b.String() + "quorum w0\n"
}

// largeEntry is an entry with as many links as it may have.
func largeEntry(size int) string {
	e := testlog.Must(entry.Parse(testlog.Must(testdata.Files.ReadFile("hello-proof-0.1.0.entry"))))
	s := e.Claim.(*entry.Source)
	for i := range 256 {
		s.Links = append(s.Links, entry.Link{Path: fmt.Sprintf("l%03d/", i) + strings.Repeat("a/", 50) + "b", Target: strings.Repeat("../", 40) + "x"})
	}
	b := testlog.Must(e.Marshal())
	return string(b) + strings.Repeat("x", max(0, min(size, 2*entry.MaxSize)-len(b)))
}

// tree is the content of a git tree with as many entries as there is room for.
func tree(size int) string {
	return lines("", "100644 f%07d\x00aaaaaaaaaaaaaaaaaaaa")(size)
}

func lockPackages(size int) string {
	return lines("version = 4\n\n", "[[package]]\nname = \"p%d\"\nversion = \"1.0.0\"\nsource = \"registry+https://r.example/index\"\nchecksum = \""+checked+"\"\n\n")(size)
}

// lockEdges has one package that depends on all others.
func lockEdges(size int) string {
	return lockPackages(size/2) + "[[package]]\nname = \"q\"\nversion = \"1.0.0\"\ndependencies = [\n" + lines("", " \"p%d\",\n")(size/40) + "]\n"
}

func indexLine(more string) string {
	return "{\"name\":\"a\",\"vers\":\"1.0.%d\",\"deps\":[],\"cksum\":\"" + checked + "\",\"features\":{}" + more + "}\n"
}

// summaries reads an index file, and takes from each line what cargo takes.
func summaries(b []byte) (n int, err error) {
	all, err := registry.ParseReleases("a", b)
	for _, r := range all {
		if _, err = r.Summary("sparse+https://r.example/"); err == nil {
			n++
		}
	}
	return n, err
}

func settings(file string) (any, error) {
	var s struct {
		K []string       `toml:"k"`
		T map[string]any `toml:"t"`
	}
	err := config.LoadTOML(file, &s)
	return s, err
}

func loadPolicy(file string) (*policy.Policy, error) { return policy.Load(file, filepath.Dir(file)) }

func loadConfig(file string) (*cargo.Config, error) {
	dir := filepath.Dir(filepath.Dir(file))
	return cargo.LoadConfig(dir, filepath.Join(dir, "home"))
}

func summary(b []byte) (registry.Summary, error) {
	return registry.ManifestSummary(b)
}

var texts = map[string]attack{
	"lock_packages":    text(lockPackages, cargo.ParseLock),
	"lock_edges":       text(lockEdges, cargo.ParseLock),
	"lock_keys":        text(lines("version = 4\n[metadata]\n", "k%d = \"1\"\n"), cargo.ParseLock),
	"workspace_keys":   at("Cargo.toml", lines(head+meta, "k%d=1\n"), cargo.LoadWorkspace),
	"workspace_member": at("Cargo.toml", lines("[workspace]\nmembers = [", "\"m%d/*\","), cargo.LoadWorkspace),
	"cargo_config":     at(".cargo/config.toml", lines("[registries]\n", "r%d.index = \"sparse+https://r.example/\"\n"), loadConfig),
	"index_lines":      text(lines("", indexLine("")), summaries),
	"index_features":   text(repeated("{\"name\":\"a\",\"vers\":\"1.0.0\",\"deps\":[],\"cksum\":\""+checked+"\",\"features\":{\"f\":[", "\"f\",", "\"f\"]}}\n"), summaries),
	"index_dependencies": text(repeated("{\"name\":\"a\",\"vers\":\"1.0.0\",\"cksum\":\""+checked+"\",\"features\":{},\"deps\":[",
		"{\"name\":\"d\",\"req\":\"^1\",\"features\":[\"x\"],\"optional\":false,\"default_features\":true,\"target\":null,\"kind\":\"normal\"},",
		"{\"name\":\"e\",\"req\":\"^1\",\"features\":[],\"optional\":false,\"default_features\":true,\"target\":null,\"kind\":\"normal\"}]}\n"), summaries),
	"index_requirements": text(repeated("{\"name\":\"a\",\"vers\":\"1.0.0\",\"cksum\":\""+checked+"\",\"features\":{},\"deps\":[{\"name\":\"d\",\"req\":\"",
		">=1.0.0, ", "<2\",\"features\":[],\"optional\":false,\"default_features\":true,\"target\":null,\"kind\":\"normal\"}]}\n"), summaries),
	"index_target": text(repeated("{\"name\":\"a\",\"vers\":\"1.0.0\",\"cksum\":\""+checked+"\",\"features\":{},\"deps\":[{\"name\":\"d\",\"target\":\"cfg(",
		"not(", "\",\"req\":\"1\",\"features\":[],\"optional\":false,\"default_features\":true,\"kind\":\"normal\"}]}\n"), summaries),
	"index_nesting":  text(repeated("{\"name\":\"a\",\"vers\":\"1.0.0\",\"x\":", "[", "\n"), summaries),
	"index_manifest": text(lines(head, "[dependencies.d%d]\nversion = \"1\"\n"), summary),
	"git_tree":       text(tree, gitobject.ParseTree),
	"git_commit":     text(repeated("tree "+checked[:40]+"\n", "parent "+checked[:40]+"\n", "\n"), gitobject.ParseCommit),
	"entry_links":    text(largeEntry, entry.Parse),
	"entry_nesting":  text(repeated("", "\x81", ""), entry.Parse),
	"bundle_lines":   text(bundle, openBundle),
	"bundle_hashes": text(repeated("c2sp.org/tlog-proof@v1\nindex 1\n", zeros, "\n"),
		client.ParseBundle),
	"page_rows":       text(rows, client.ParsePage),
	"trust_groups":    text(nestedGroups, client.ParsePolicy),
	"trust_witnesses": text(manyWitnesses, client.ParsePolicy),
	"program_file":    text(repeated("{\"system\":\"groth16-bn254\",\"claim\":\"source/2\",\"blocks\":41,\"origin\":\"development\",\"key\":\"", "AAAA", "\"}"), proofcheck.ParseProgram),
	"evidence_line":   text(repeated("cratelog/evidence/v2\n", "kind ", "\n"), evidence.Parse),
	"evidence_lines":  text(repeated("cratelog/evidence/v2\nkind fork-prefix\nobserved 2026-09-01T13:00:00Z\n", "hash "+zeros, ""), evidence.Parse),
	"policy_keys":     at("zkp.toml", lines("version = 1\n", "k%d = 1\n"), loadPolicy),
	"policy_tables":   at("zkp.toml", lines("version = 1\n", "[[exception]]\ncrate = \"c%d\"\nreason = \"r\"\nexpires = \"2027-01-31\"\n"), loadPolicy),
	"settings_keys":   at("s.toml", lines("[t]\n", "k%d = 1\n"), settings),
	"settings_tables": at("s.toml", lines("", "[t.k%d]\n"), settings),
}

var attacks = func() map[string]attack {
	all := maps.Clone(texts)
	maps.Copy(all, crates)
	return all
}()
