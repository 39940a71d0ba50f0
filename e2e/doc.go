// Package e2e holds no code, only tests: they build the programs, run them as
// processes on loopback as an operator, a publisher and a reader would, and hold
// what the packages cannot see alone. Nothing imports it.
//
// Tests with real repositories need ../shared/corpus beside the module, git and cargo.
// Without them these tests say what is missing and skip; in CI they fail. All tests share
// one home directory that is not the user's, and the proving key in it is made once. With
// -short nothing is proven, and nothing comes from a real registry. With -tags peers they also run
// programs that are not ours, which .ci/long installs.
package e2e
