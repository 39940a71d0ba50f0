package e2e

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cratelog/internal/fixture"
)

// exported returns the names of the metrics that the programs make, as their code says.
func exported(t *testing.T) []string {
	t.Helper()
	whole, tail := regexp.MustCompile(`"(cratelog_[a-z_]+[a-z])"`), regexp.MustCompile(`\bdesc\("([a-z_]+)"`)
	var names []string
	for _, dir := range []string{"log", "witness", "monitor", "internal/vitals"} {
		files, err := filepath.Glob(filepath.Join("..", dir, "*.go"))
		fatalIf(t, err)
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			text := string(read(t, file))
			for _, m := range whole.FindAllStringSubmatch(text, -1) {
				names = append(names, m[1])
			}
			for _, m := range tail.FindAllStringSubmatch(text, -1) {
				names = append(names, "cratelog_monitor_"+m[1])
			}
		}
	}
	if len(names) < 30 {
		t.Fatalf("%d metrics were found, so this test sees little", len(names))
	}
	return names
}

// TestRulesAndDashboardAskForMetricsThatExist, and every metric is explained.
func TestRulesAndDashboardAskForMetricsThatExist(t *testing.T) {
	names := exported(t)
	used := regexp.MustCompile(`\b(cratelog|go|process|promhttp)_[a-z_]+`)
	found := 0
	for _, file := range []string{"logd.rules.yml", "monitor.rules.yml", "grafana.json"} {
		for _, name := range used.FindAllString(string(read(t, filepath.Join("..", "deploy", file))), -1) {
			found++
			base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_sum"), "_count")
			known := slices.Contains(names, name) || slices.Contains(names, base) ||
				slices.Contains([]string{"process_open_fds", "process_max_fds", "process_resident_memory_bytes", "process_cpu_seconds_total"}, name)
			if !known {
				t.Errorf("deploy/%s asks for %s, which no program has", file, name)
			}
		}
	}
	if found < 40 {
		t.Errorf("%d names were found, so this test sees little", found)
	}
	docs := string(read(t, filepath.Join("..", "docs", "operating.md"))) + string(read(t, filepath.Join("..", "docs", "monitoring.md")))
	for _, name := range names {
		short := "_" + strings.TrimPrefix(name, "cratelog_monitor_")
		if !strings.Contains(docs, name) && !(strings.HasPrefix(name, "cratelog_monitor_") && strings.Contains(docs, short)) {
			t.Errorf("neither docs/operating.md nor docs/monitoring.md explains %s", name)
		}
	}
}

// TestTheUnitsAreValidAndLockedIn wants systemd to accept them, and to find little that they could do.
func TestTheUnitsAreValidAndLockedIn(t *testing.T) {
	fixture.Need(t, "systemd-analyze")
	units, err := filepath.Glob(filepath.Join("..", "deploy", "*.service"))
	fatalIf(t, err)
	if len(units) != 3 {
		t.Fatalf("the units are %q", units)
	}
	program := regexp.MustCompile(`(?m)^(Exec\w+=)/usr/bin/(logd|witness|monitor) (\w+)`)
	for _, unit := range units {
		text := string(read(t, unit))
		for _, m := range program.FindAllStringSubmatch(text, -1) {
			usage := string(read(t, filepath.Join("..", "cmd", m[2], map[string]string{"monitor": "main.go"}[m[2]]+map[bool]string{true: "run.go"}[m[2] != "monitor"])))
			if !strings.Contains(usage, "\t"+m[2]+" "+m[3]+" ") {
				t.Errorf("%s runs %s %s, which there is not", unit, m[2], m[3])
			}
		}
		// The programs are not installed here: a program that is stands for them.
		file := filepath.Join(t.TempDir(), filepath.Base(unit))
		fatalIf(t, os.WriteFile(file, []byte(program.ReplaceAllString(text, "${1}/bin/true $3")), 0o644))
		wantGoodUnit(t, unit, file)
		if dropIns := unit + ".d"; filepath.Base(unit) == "logd.service" {
			fatalIf(t, os.CopyFS(file+".d", os.DirFS(dropIns)))
			wantGoodUnit(t, dropIns, file)
		}
	}
}

func wantGoodUnit(t *testing.T, name, file string) {
	t.Helper()
	if out, err := exec.Command("systemd-analyze", "verify", file).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify %s: %v\n%s", name, err, out)
	}
	out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", file).CombinedOutput()
	if err != nil {
		t.Errorf("%s is exposed more than 1.5: %v\n%s", name, err, out)
	}
}

// TestEachFaultOfTheTableHasATest: what docs/operating.md promises for a fault, a test holds.
func TestEachFaultOfTheTableHasATest(t *testing.T) {
	tests := make(map[string]bool)
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		for _, m := range declared.FindAllStringSubmatch(string(read(t, path)), -1) {
			tests[m[1]] = true
		}
		return nil
	})
	fatalIf(t, err)
	named, rows, columns := regexp.MustCompile("`(Test\\w+)`"), 0, 0 // columns of a table of faults, else 0
	for line := range strings.Lines(string(read(t, filepath.Join("..", "docs", "operating.md")))) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		switch {
		case !strings.HasPrefix(line, "|"):
			columns = 0
			continue
		case strings.TrimSpace(cells[len(cells)-1]) == "test":
			columns = len(cells)
			continue
		case columns == 0, strings.HasPrefix(line, "|---"):
			continue
		}
		rows++
		found := named.FindAllStringSubmatch(cells[len(cells)-1], -1)
		if len(cells) != columns || len(found) == 0 {
			t.Errorf("a row without a test, or with %d columns: %s", len(cells), line)
		}
		for _, m := range found {
			if !tests[m[1]] {
				t.Errorf("the table names %s, which there is not", m[1])
			}
		}
	}
	if rows < 30 {
		t.Errorf("the tables have %d rows, so this test sees little", rows)
	}
}
