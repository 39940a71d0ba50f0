package policy

// checkTrusted reads the key trusted-publishing.
func checkTrusted(v string, wrong complain) {
	if v != "ignore" && v != "agree" {
		wrong("trusted-publishing", `is %q; it must be "ignore", or "agree": where the registry says which commit a crate was `+
			`published from, it must be the proven one`, v)
	}
}
