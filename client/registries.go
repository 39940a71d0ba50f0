package client

import (
	"context"
	"encoding/json"
	"fmt"

	"cratelog/entry"
)

// maxAbout bounds what a log says of itself, in bytes.
const maxAbout = 1 << 20

// UnverifiedRegistries returns the registries of which a log says that it takes only what they list,
// as subjects name them. It is signed by nobody: a hint, on which nothing may rest. known is false if
// the log says nothing about it.
func (l *Log) UnverifiedRegistries(ctx context.Context) (registries []string, known bool, err error) {
	text, err := l.get(ctx, maxAbout, "", "v1", "log")
	if err != nil {
		return nil, false, err
	}
	var about struct {
		Registries *[]string `json:"registries"`
	}
	if err := json.Unmarshal(text, &about); err != nil {
		return nil, false, fmt.Errorf("what the log says of itself is not the JSON that was expected: %w", err)
	}
	if about.Registries == nil {
		return nil, false, nil
	}
	for _, r := range *about.Registries {
		if err := entry.CheckRegistry(r); err != nil {
			return nil, false, fmt.Errorf("what the log says of itself: %w", err)
		}
	}
	return *about.Registries, true, nil
}
