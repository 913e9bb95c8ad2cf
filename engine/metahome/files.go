package metahome

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sluicehq/sluice/engine/seal/atomicfile"
)

// files is what is done in the copies' directories; tests lose power in it.
type files interface {
	// look returns the record in dir, nil if there is none, and whether dir holds
	// files of a store. A missing directory holds none.
	look(dir string) (text []byte, store bool, err error)
	// put makes dir, but not its parent, and puts the record there, durably.
	put(dir string, text []byte) error
}

type osFiles struct{}

func (osFiles) look(dir string) ([]byte, bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	store := false
	for _, e := range entries {
		store = store || isStore(e.Name())
	}
	f, err := os.Open(filepath.Join(dir, File))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, store, nil
	}
	if err != nil {
		return nil, store, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxRecord+1))
	return text, store, err
}

// isStore tells the files without which there is no store: a copy that is being
// filled gets them last, and one that is removed loses them first.
func isStore(name string) bool {
	return name == "CURRENT" || strings.HasPrefix(name, "MANIFEST-") || strings.HasPrefix(name, "marker.")
}

func (osFiles) put(dir string, text []byte) error {
	err := os.Mkdir(dir, 0o700)
	switch {
	case err == nil:
		if err := atomicfile.SyncDir(filepath.Dir(dir)); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrExist):
		return fmt.Errorf("metadata: %w", err)
	}
	return atomicfile.Replace(filepath.Join(dir, File), text)
}
