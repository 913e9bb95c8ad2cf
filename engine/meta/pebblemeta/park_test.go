package pebblemeta

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/meta/pebblemeta/faultfs"
)

// A new log that cannot be made, or a directory that cannot be synced then, takes the store down and not the process.
func TestLogsDoNotChange(t *testing.T) {
	for name, strikes := range map[string]func(op errorfs.Op) bool{
		"create":    func(op errorfs.Op) bool { return op.Kind == errorfs.OpCreate && isLog(op.Path) },
		"directory": func(op errorfs.Op) bool { return op.Kind == errorfs.OpFileSync && !strings.Contains(op.Path, ".") },
	} {
		t.Run(name, func(t *testing.T) {
			var broken atomic.Bool
			cause := errors.New("the drive is gone")
			fs := faultfs.Wrap(vfs.NewMem(), func(op errorfs.Op) error {
				if broken.Load() && strikes(op) {
					return cause
				}
				return nil
			})
			s, err := Open("m", Options{FS: fs})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Mutate(context.Background(), 0, &meta.PutDoc{Path: "first", Value: []byte("v"), IfRev: -1}); err != nil {
				t.Fatal(err)
			}
			broken.Store(true)
			value := make([]byte, 1<<20)
			for i := 0; err == nil; i++ {
				if i > 4*memTable>>20 {
					t.Fatal("the log never changed")
				}
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				err = s.Mutate(ctx, 0, &meta.PutDoc{Path: fmt.Sprint(i), Value: value, IfRev: -1})
				cancel()
			}
			if !errors.Is(err, meta.ErrUnknownOutcome) && !errors.Is(err, meta.ErrClosed) {
				t.Errorf("the command that met it: %v", err)
			}
			if !errors.Is(s.Err(), cause) {
				t.Errorf("the store says %v", s.Err())
			}
			if _, ok, err := s.Get(meta.AppliedKey()); !ok || err != nil {
				t.Errorf("a read: %v %v", ok, err)
			}
			if err := s.Close(); !errors.Is(err, cause) {
				t.Errorf("close: %v", err)
			}
		})
	}
}
