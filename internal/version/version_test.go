package version

import (
	"runtime/debug"
	"strings"
	"testing"
)

func TestOnlyATaggedCommitWithoutChangesHasANumber(t *testing.T) {
	const commit = "a25a1ada4626b5609247faf6772457aa5c0650f8"
	vcs := func(modified string) []debug.BuildSetting {
		return []debug.BuildSetting{{Key: "vcs", Value: "git"}, {Key: "vcs.revision", Value: commit},
			{Key: "vcs.time", Value: "2026-11-29T10:53:14Z"}, {Key: "vcs.modified", Value: modified}}
	}
	const pseudo = "v0.0.0-20261129105314-a25a1ada4626"
	for _, c := range []struct {
		version  string
		settings []debug.BuildSetting
		want     string
	}{
		{"v0.1.0", vcs("false"), "0.1.0"},
		{"v0.1.0", nil, "0.1.0"},
		{"v1.2.3-rc.1", vcs("false"), "1.2.3-rc.1"},
		{"v0.1.0+dirty", vcs("true"), "development build of a25a1ada4626 with changes"},
		{"v0.1.0", vcs("true"), "development build of a25a1ada4626 with changes"},
		{pseudo, vcs("false"), "development build of a25a1ada4626"},
		{pseudo, nil, "development build of a25a1ada4626"},
		{pseudo + "+dirty", vcs("true"), "development build of a25a1ada4626 with changes"},
		{"v0.1.1-0.20261129105314-a25a1ada4626", nil, "development build of a25a1ada4626"},
		{"(devel)", vcs("false"), "development build of a25a1ada4626"},
		{"(devel)", nil, "development build"},
		{"", nil, "development build"},
	} {
		b := of(&debug.BuildInfo{Main: debug.Module{Version: c.version}, Settings: c.settings})
		if b.version != c.want || b.rev != "" && b.rev != commit[:12] || strings.Contains(c.want, "of a25") && b.rev == "" {
			t.Errorf("%q with %v: %q, want %q", c.version, c.settings, b.version, c.want)
		}
	}
}

func TestTheLineNamesProgramAndVersion(t *testing.T) {
	if line := Line("logd"); !strings.HasPrefix(line, "logd "+String()+" (") || strings.Contains(line, "\n") {
		t.Errorf("%q", line)
	}
	for args, want := range map[string]bool{"--version": true, "-V": true, "version": true, "serve": false, "": false,
		"--version x": false} {
		if Asked(strings.Fields(args)) != want {
			t.Errorf("%q asks: %v", args, !want)
		}
	}
}
