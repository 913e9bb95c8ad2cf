package drive

import (
	"context"
	"errors"
	"testing"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring/faultio"
)

// What is in use is what Reserve gave, and Holds knows what a record may name.
func TestAuditOfSpace(t *testing.T) {
	d := openDrive(t, faultio.New(faultio.Options{}), Options{})
	ctx := context.Background()
	var kept [][]layout.Extent
	for i := range 6 {
		exts, err := d.Reserve(ctx, 100<<10)
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			kept = append(kept, exts)
			continue
		}
		defer d.Free(exts)
	}
	used := func() (n int64, runs []layout.Extent) {
		for e, ok := d.NextUsed(0); ok; e, ok = d.NextUsed(e.Off + e.Len) {
			n += e.Len
			runs = append(runs, e)
		}
		return n, runs
	}
	if n, runs := used(); n != usedBytes(d) {
		t.Fatalf("%d bytes in runs %v, %d in use", n, runs, usedBytes(d))
	}
	f := kept[0]
	need := DiskSize(100 << 10)
	if err := d.Holds(f, need); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		exts []layout.Extent
		want error
	}{
		"short":      {f, ErrCorrupt},
		"unaligned":  {[]layout.Extent{{Off: f[0].Off + 1, Len: f[0].Len}}, ErrCorrupt},
		"outside":    {[]layout.Extent{{Off: 1 << 50, Len: 1 << 20}}, ErrCorrupt},
		"superblock": {[]layout.Extent{{Off: 0, Len: 1 << 20}}, ErrCorrupt},
	} {
		n := need
		if name == "short" {
			n = f[0].Len + 1
		}
		if err := d.Holds(c.exts, n); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	d.Free(f)
	if _, ok := d.NextUsed(1 << 50); ok {
		t.Error("something is in use behind the end")
	}
	if err := d.Holds(f, need); !errors.Is(err, ErrRange) {
		t.Errorf("free: %v", err)
	}
	for _, exts := range kept[1:] {
		d.Free(exts)
	}
	if _, runs := used(); len(runs) != 1 && len(runs) != 2 && len(runs) != 3 {
		t.Errorf("runs %v", runs)
	}
}

func usedBytes(d *Drive) int64 {
	_, used, _ := d.Usage()
	return used
}
