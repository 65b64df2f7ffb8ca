// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// delayAfter keeps the answer to a command back for a moment: the question has been answered by Redis, and the answer is not here.
type delayAfter struct {
	command string
	delay   time.Duration
}

func (d delayAfter) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (d delayAfter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if strings.EqualFold(cmd.Name(), d.command) {
			time.Sleep(d.delay)
		}
		return err
	}
}

func (d delayAfter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// gate cuts a client off from the change streams, and from nothing else.
type gate struct {
	shut    atomic.Bool
	refused atomic.Int64
}

var errCut = errors.New("cut off")

func (g *gate) blocks(cmd redis.Cmder) bool {
	switch strings.ToLower(cmd.Name()) {
	case "xread", "xrange", "xrevrange":
		return g.shut.Load()
	}
	return false
}

func (g *gate) DialHook(next redis.DialHook) redis.DialHook { return next }

func (g *gate) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if g.blocks(cmd) { // also when it was shut while the answer was awaited
			g.refused.Add(1)
			cmd.SetErr(errCut)
			return errCut
		}
		return err
	}
}

func (g *gate) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if g.blocks(cmds[0]) {
			g.refused.Add(1)
			return errCut
		}
		return next(ctx, cmds)
	}
}
