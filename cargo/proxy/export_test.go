package proxy

import "time"

// SetPatience sets how long whoever asks for a crate is kept waiting.
func (c *Config) SetPatience(d time.Duration) { c.testingOnlyPatience = d }

var Shorten = shorten

const MaxSentence = maxSentence
