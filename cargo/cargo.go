// Package cargo reads what cargo keeps on disk, without running cargo and without the
// network: Cargo.lock (ParseLock), the manifests of a workspace and what they ask to be
// verified (LoadWorkspace), cargo's home with the archives and sources of registries' crates
// (FindCached, CompareSource), and its configuration files (LoadConfig, InstallProxy).
//
// All of it is input: it may be old, half written, or put there by an attacker. So files are
// bounded before they are read, and what is not understood is an error
// with a sentence, never passed over, unless cargo itself is known to pass over it.
package cargo
