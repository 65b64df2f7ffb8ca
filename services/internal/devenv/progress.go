// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package devenv

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// progress prints one line for each step, with its time. On a terminal the step shows while it runs; elsewhere only its end.
type progress struct {
	out      io.Writer
	terminal bool
	begin    time.Time

	mu sync.Mutex
}

const labelWidth = 38

// slow is how long a step may take before it says what it waits for.
const slow = 2 * time.Second

// step runs one step. While it takes longer than expected, what tells what it is at.
func (p *progress) step(label string, waitsFor func() string, f func() (result string, err error)) error {
	begin := time.Now()
	done := make(chan struct{})
	var waiting sync.WaitGroup
	if p.terminal {
		fmt.Fprintf(p.out, "  %-*s", labelWidth, label)
	}
	waiting.Go(func() {
		t := time.NewTimer(slow)
		defer t.Stop()
		select {
		case <-done:
		case <-t.C:
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.terminal {
				fmt.Fprintf(p.out, "waits for %s … ", waitsFor())
			} else {
				fmt.Fprintf(p.out, "  %-*swaits for %s\n", labelWidth, label, waitsFor())
			}
		}
	})
	result, err := f()
	close(done)
	waiting.Wait()
	if err != nil {
		if p.terminal {
			fmt.Fprintln(p.out, "failed")
		} else {
			fmt.Fprintf(p.out, "  %-*sfailed\n", labelWidth, label)
		}
		return err
	}
	if result == "" {
		result = seconds(time.Since(begin))
	}
	if p.terminal {
		fmt.Fprintln(p.out, result)
	} else {
		fmt.Fprintf(p.out, "  %-*s%s\n", labelWidth, label, result)
	}
	return nil
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
