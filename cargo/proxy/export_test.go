package proxy

import "time"

// SetPatience sets how long whoever asks for a crate is kept waiting, and for the next bytes.
func (c *Config) SetPatience(d time.Duration) { c.testingOnlyPatience, c.testingOnlyTrickle = d, d }

var Shorten = shorten

const MaxSentence = maxSentence
