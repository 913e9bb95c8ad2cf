package main

import (
	"maps"
	"os"
	"strings"
	"testing"
)

func TestMix(t *testing.T) {
	mix := attackMix{"silent": 5, "idle": 6, "flood": 2}
	back, err := parseMix(mix.String())
	if err != nil || !maps.Equal(mix, back) {
		t.Errorf("%v, %v", back, err)
	}
	for _, bad := range []string{"", "silent", "silent=x", "silent=-1", "loud=1"} {
		if m, err := parseMix(bad); err == nil {
			t.Errorf("%q: %v", bad, m)
		}
	}
	sum, parts := attackMix{}, mix.split(4)
	for _, part := range parts {
		n := 0
		for kind, count := range part {
			sum[kind] += count
			n += count
		}
		if n > 4 {
			t.Errorf("a process with %d connections", n)
		}
	}
	if !maps.Equal(sum, mix) || len(parts) != 4 {
		t.Errorf("%v, in %d parts", sum, len(parts))
	}
	if parts := (attackMix{"idle": 8}).split(4); len(parts) != 2 {
		t.Errorf("%v", parts)
	}
}

func TestProcessFiles(t *testing.T) {
	if n := processFiles(os.Getpid()); n < 16 {
		t.Errorf("%d files", n)
	}
	if n := processFiles(-1); n != 0 {
		t.Errorf("%d files of no process", n)
	}
}

// The attackers keep attacking a server until they are told to end, and count.
func TestAttack(t *testing.T) {
	_, target := newFakeS3(t, false)
	var text strings.Builder
	mix := attackMix{"silent": 2, "idle": 2, "header": 1, "upload": 1, "download": 1, "flood": 2}
	// Told to end at once, it attacks until all have connected.
	if err := runAttack(t.Context(), target, "b", mix, strings.NewReader(""), &text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ready\n", `"silent connected":2`, `"idle connected":2`, `"flood connected":2`, `"download connected":1`} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %s in %s", want, text.String())
		}
	}
}
