package ioring

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPollLimit(t *testing.T) {
	for name, c := range map[string]struct {
		poll, chunk, kib, segments string
		want                       int
		err                        string
	}{
		"sectors decide":    {"1", "0", "128", "127", 128 << 10, ""},
		"segments decide":   {"1", "0", "1280", "33", 32 * os.Getpagesize(), ""},
		"no queues":         {"0", "0", "128", "127", 0, "no queues for polling"},
		"no block device":   {"", "", "", "", 0, "not that of one block device"},
		"boundaries":        {"1", "256", "128", "127", 0, "boundaries"},
		"nothing is told":   {"1", "0", "", "", 0, "does not tell"},
		"one segment":       {"1", "0", "128", "1", 0, "does not tell"},
		"a number it isn't": {"1", "0", "many", "127", 0, "does not tell"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir() + "/"
			for file, text := range map[string]string{"io_poll": c.poll, "chunk_sectors": c.chunk, "max_sectors_kb": c.kib, "max_segments": c.segments} {
				if text == "" {
					continue
				}
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, err := pollLimit(dir)
			if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%d, %v; want %d, %q", got, err, c.want, c.err)
			}
		})
	}
}
