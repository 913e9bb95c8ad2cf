package metahome

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/sluicehq/sluice/engine/seal/atomicfile"
)

// Witness is the witness's name.
const Witness = "witness"

// WitnessFile is the name of the witness's file: one line of the voter's number in
// decimal digits, a space, and the same number's complement to 2^64-1, so that damage
// is noticed.
const WitnessFile = "metadata-witness"

type witness struct {
	path string
	turn chan struct{} // held while a write is under way
}

// NewWitness returns the voter that keeps the generation in a file below dir. While
// the file is not there, it cannot be asked (fs.ErrNotExist), but can record.
func NewWitness(dir string) Voter {
	return &witness{filepath.Join(dir, WitnessFile), make(chan struct{}, 1)}
}

func (w *witness) Name() string { return Witness }

func (w *witness) Generation() (uint64, error) {
	text, err := os.ReadFile(w.path)
	if err != nil {
		return 0, err
	}
	return decodeWitness(text, w.path)
}

func decodeWitness(text []byte, path string) (uint64, error) {
	a, b, _ := strings.Cut(strings.TrimSuffix(string(text), "\n"), " ")
	gen, err := strconv.ParseUint(a, 10, 64)
	not, err2 := strconv.ParseUint(b, 10, 64)
	if err != nil || err2 != nil || gen != ^not {
		return 0, fmt.Errorf("metadata: %s is damaged", path)
	}
	return gen, nil
}

// SetGeneration returns ctx's error when the disk takes longer. The write may then
// still be done; until it is, there is no other.
func (w *witness) SetGeneration(ctx context.Context, gen uint64) error {
	select {
	case w.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	done := make(chan error, 1)
	go func() {
		defer func() { <-w.turn }()
		done <- w.write(gen)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *witness) write(gen uint64) error {
	err := atomicfile.Replace(w.path, fmt.Appendf(nil, "%d %d\n", gen, ^gen))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("metadata: the witness's directory is missing: %w", err)
	}
	return err
}
