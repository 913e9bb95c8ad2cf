package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
)

// encryptionRounds is how often each pair of cells is run: what else happens on
// the machine meets both sides alike.
const encryptionRounds = 3

// ratio compares objects stored encrypted (SSE-S3) with objects stored as they
// are, both measured in turn in one run.
type ratio struct {
	Scheme      string  `json:"scheme"`
	Name        string  `json:"name"`
	Concurrency int     `json:"concurrency"`
	Plain       float64 `json:"plain_mib_per_second"`
	Encrypted   float64 `json:"encrypted_mib_per_second"`
	Ratio       float64 `json:"encrypted_to_plain"`
	// Of the server, in CPU seconds per GiB; absent when its process is not known.
	PlainCPU     float64 `json:"plain_cpu_s_per_gib,omitempty"`
	EncryptedCPU float64 `json:"encrypted_cpu_s_per_gib,omitempty"`
}

// sums adds up what the rounds of one side gave.
type sums struct{ bytes, seconds, cpu float64 }

func (s *sums) add(c *cell, r *result) {
	gib := r.Operations * float64(c.bytes) / (1 << 30)
	s.bytes += gib * 1024
	s.seconds += r.Seconds
	s.cpu += r.CPUPerGiBSec * gib
}

func (s *sums) rate() float64 { return s.bytes / s.seconds }

// cpuPerGiB is 0 when nothing is known of the server's CPU time.
func (s *sums) cpuPerGiB() float64 { return s.cpu / s.bytes * 1024 }

// encryption PUTs and GETs objects of each size with and without encryption, in
// turn, and tells what it costs.
type encryption struct {
	f           *fixture
	sizes       []int64
	concurrency []int
	each        func(result) // of each measurement
	tell        func(ratio)
}

func (e *encryption) run(ctx context.Context) error {
	f := e.f
	if err := createBucket(ctx, f.t, f.p, f.bucket); err != nil {
		return err
	}
	for _, size := range e.sizes {
		n := f.count(4*size, poolObjects)
		for _, encrypted := range []bool{false, true} {
			fill := e.cell("PUT", size, 16, n, encrypted)
			fill.measured, fill.warmUp, fill.limit = 0, 0, n
			if _, err := fill.run(ctx, f.t, f.p); err != nil {
				return err
			}
		}
		for _, op := range []string{"PUT", "GET"} {
			for _, concurrency := range e.concurrency {
				x, err := e.pair(ctx, op, size, concurrency, n)
				if err != nil {
					return err
				}
				e.tell(x)
			}
		}
	}
	return nil
}

// pair runs both sides in turn.
func (e *encryption) pair(ctx context.Context, op string, size int64, concurrency int, n int64) (x ratio, err error) {
	var side [2]sums
	for range encryptionRounds {
		for i := range side {
			c := e.cell(op, size, concurrency, n, i == 1)
			res, err := c.run(ctx, e.f.t, e.f.p)
			if err != nil {
				return x, err
			}
			e.each(res)
			side[i].add(c, &res)
		}
	}
	x = ratio{
		Scheme: e.f.t.scheme(), Name: op + " " + sizeName(size), Concurrency: concurrency,
		Plain: side[0].rate(), Encrypted: side[1].rate(), Ratio: side[1].rate() / side[0].rate(),
		PlainCPU: side[0].cpuPerGiB(), EncryptedCPU: side[1].cpuPerGiB(),
	}
	return x, nil
}

func (e *encryption) cell(op string, size int64, concurrency int, n int64, encrypted bool) *cell {
	home, name := "plain", op+" "+sizeName(size)
	if encrypted {
		home, name = "encrypted", name+" encrypted"
	}
	c := &cell{name: name, concurrency: concurrency, bytes: size, warmUp: e.f.warmUp, measured: e.f.measured}
	c.next = func(i int64) (*request, []byte) {
		if i %= n; op == "GET" {
			i = rand.Int64N(n)
		}
		return &request{
			method: op, path: fmt.Sprintf("/%s/%s/%s/%07d", e.f.bucket, home, sizeName(size), i),
			seed: uint64(i), size: size, encrypted: encrypted && op == "PUT", // #nosec G115: not negative
		}, nil
	}
	return c
}

// ratios writes the comparison as Markdown.
func ratios(b *strings.Builder, list []ratio) {
	if len(list) == 0 {
		return
	}
	b.WriteString("\n| | operation | at once | plain MiB/s | encrypted MiB/s | ratio | plain CPU s/GiB | encrypted CPU s/GiB | more |\n")
	b.WriteString("|---|---|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, x := range list {
		more := "–"
		if x.PlainCPU > 0 {
			more = fmt.Sprintf("%+.0f %%", 100*(x.EncryptedCPU/x.PlainCPU-1))
		}
		fmt.Fprintf(b, "| %s | %s | %d | %s | %s | %.2f | %s | %s | %s |\n", x.Scheme, x.Name, x.Concurrency,
			number(x.Plain), number(x.Encrypted), x.Ratio, number(x.PlainCPU), number(x.EncryptedCPU), more)
	}
	fmt.Fprintf(b, "\neach side measured %d times, in turn\n", encryptionRounds)
}
