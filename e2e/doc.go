// Package e2e holds no code, only tests: they build the programs, run them as
// processes on loopback as an operator, a publisher and a reader would, and hold
// what the packages cannot see alone. Nothing imports it.
//
// Tests with real repositories need ../shared/corpus beside the module, git and
// cargo, and proving keys, which are made in the user's cache when they are not
// there. Without them these tests say what is missing and skip.
package e2e
