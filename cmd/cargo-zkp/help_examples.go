package main

import "slices"

// example is a command line of a verb that works as it stands, once the files are there.
type example struct{ line, what string }

// examples are shown by --help, and stand in the man pages. A test parses each.
var examples = map[string][]example{
	"verify": {
		{"cargo zkp verify", "is every crate of Cargo.lock what zkp.toml asks for?"},
		{"cargo zkp verify -p serde@1.0.228 -v", "one crate, and what is known of it"},
		{"cargo zkp verify --locked --message-format sarif", "in CI, for the code scanning page"},
		{"cargo zkp verify serde-1.0.228.crate --trust trust.policy", "one .crate, with the bundle beside it"},
		{"cargo zkp verify --binary ./hexyl hexyl@0.17.0", "do builders make this binary of that crate?"},
	},
	"install": {
		{"cargo zkp install hexyl@0.17.0 --binary ./hexyl", "this binary if builders make it, else a rebuilt one"},
		{"cargo zkp install hexyl@0.17.0", "rebuild it here, in a sandbox"},
	},
	"init": {
		{"cargo zkp init", "write zkp.toml, to be looked through"},
		{"cargo zkp init --from-lock --trust readers", "require all, with an exception for each crate that is not proven yet"},
	},
	"suggest": {{"cargo zkp suggest", "which exceptions can go, and what could be proven next?"}},
	"prune": {
		{"cargo zkp prune --dry-run", "which exceptions would go?"},
		{"cargo zkp prune", "take them out of the exceptions file"},
	},
	"report": {
		{"cargo zkp report", "how much of Cargo.lock is proven, and which proofs would add most?"},
		{"cargo zkp report --message-format json", "for a program"},
	},
	"export": {{"cargo zkp export --cargo-vet audits.toml", "for users of cargo-vet"}},
	"doctor": {{"cargo zkp doctor", "what is broken on this machine, and how is it mended?"}},
	"clean": {
		{"cargo zkp clean", "how much is in the cache? nothing is deleted"},
		{"cargo zkp clean --clones --older 90d --dry-run", "what of the clones would go?"},
	},
	"evidence": {
		{"cargo zkp evidence public/evidence", "of the crates of Cargo.lock, for any web server"},
		{"cargo zkp evidence public/evidence mycrate-1.2.0.crate", "of one that you publish"},
	},
	"trust show": {{"cargo zkp trust show", "whom do I believe, and who may change that?"}},
	"trust update": {
		{"cargo zkp trust update", "is there a newer trust file at the log? it is shown before it is taken"},
		{"cargo zkp trust update new.policy --yes", "take a file, once it is checked"},
	},
	"policy check": {{"cargo zkp policy check", "can the zkp.toml of this workspace be used?"}},
	"show": {
		{"cargo zkp show serde", "the version that Cargo.lock has"},
		{"cargo zkp show serde@1.0.228 --message-format json", "for a program"},
		{"cargo zkp show --versions serde", "all versions that the logs hold"},
		{"cargo zkp show hexyl.builds", "who says what about a binary"},
	},
	"owner": {
		{"cargo zkp owner mycrate", "who has said what of it, and is that all?"},
		{"cargo zkp owner mycrate --since 1200 --message-format json", "what is new, for a program"},
	},
	"vendor": {
		{"cargo zkp vendor", "copy the checked sources to vendor/, with what verifies them offline"},
		{"cargo zkp vendor third-party --locked", "to another place, and leave Cargo.lock alone"},
	},
	"rebuild": {
		{"cargo zkp rebuild hexyl@0.17.0", "are two builds the same?"},
		{"cargo zkp rebuild hexyl@0.17.0 --out built", "keep binary and report, for cargo zkp attest"},
	},
	"mirror-entries": {
		{"cargo zkp mirror-entries https://old.example https://log.example", "all of them"},
		{"cargo zkp mirror-entries https://log.example http://127.0.0.1:8300 --lock", "those of the crates in Cargo.lock"},
	},
	"gossip": {{"cargo zkp gossip https://monitor.example", "show it what the logs showed to you"}},
	"proxy": {
		{"cargo zkp proxy --install", "have plain cargo use the proxy in this workspace"},
		{"cargo zkp proxy", "serve, until Ctrl-C"},
		{"cargo zkp proxy --install --user --service", "for all workspaces, started when you log in"},
		{"cargo zkp proxy --uninstall", "take it out again"},
	},
	"toolchain": {
		{"cargo zkp toolchain", "the id of the compiler that cargo uses here"},
		{"cargo zkp toolchain --keep", "keep its files for later rebuilds"},
	},
	"environment make": {
		{"cargo zkp environment make", "from the archive of this machine's apt"},
		{"cargo zkp environment make --suite bookworm --mirror https://snapshot.example/debian/20260101T000000Z",
			"the same that others make"},
	},
	"environment import": {{"cargo zkp environment import rootfs.tar", "of a root file system in a tar file"}},
	"environment show":   {{"cargo zkp environment show", "the newest one: id, packages, size"}},
	"attest": {
		{"cargo zkp attest built/hexyl --key builder.key --set set.json --log https://log.example",
			"say what cargo zkp rebuild --out built made"},
	},
	"builder keygen": {
		{"cargo zkp builder keygen builder.key", "the key of a hidden member"},
		{"cargo zkp builder keygen builder.key --named --type ml-dsa-44", "of one that signs with its name"},
	},
	"builder enroll": {{"cargo zkp builder enroll builder.key", "for the keeper of a set"}},
	"builder set":    {{"cargo zkp builder set example.org/builders a.enrollment b.enrollment", "in this order"}},
	"builder status": {{"cargo zkp builder status hexyl@0.17.0 --key builder.key", "was all of it said by you?"}},
	"builder run":    {{"cargo zkp builder run --programs programs.txt --log https://log.example", "until Ctrl-C"}},
	"publish": {
		{"cargo zkp publish --dry-run --log https://log.example", "package and prove, and upload nothing"},
		{"cargo zkp publish --log https://log.example", "package, prove, log, upload"},
		{"cargo zkp publish --workspace --log https://log.example", "all members, in their order"},
	},
	"prove": {
		{"cargo zkp prove target/package/mycrate-1.2.0.crate", "your own, in its checkout"},
		{"cargo zkp prove serde@1.0.228 --repository https://git.example/serde-rs/serde --log https://log.example",
			"of another publisher, with the log's key"},
		{"cargo zkp prove --lock --log https://log.example --submit", "all crates of Cargo.lock that nobody has proven yet"},
	},
	"submit": {
		{"cargo zkp submit target/package/mycrate-1.2.0.crate --log https://log.example", "the entry lies beside it"},
	},
	"completions": {
		{"cargo-zkp completions bash", "print them; docs/install.md says where to"},
		{"cargo-zkp completions fish", "the same for fish"},
	},
	"man": {{"cargo-zkp man /usr/local/share/man/man1", "write a page for each verb"}},
}

// examplesOf are a verb's.
func examplesOf(verb string) []example {
	if slices.Contains(wrapped, verb) {
		return []example{{"cargo zkp " + verb, "cargo " + verb + ", of crates that the policy accepts only"}}
	}
	return examples[verb]
}
