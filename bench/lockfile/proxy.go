package main

import (
	"context"
)

func (p *place) measureProxy(ctx context.Context, n int) error { return nil }
