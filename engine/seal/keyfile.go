package seal

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/sluicehq/sluice/engine/seal/atomicfile"
)

// Format of the key file: text; lines that are empty or begin with "#" are
// skipped; there is exactly one other line, keyPrefix and the 32 bytes of the
// key as 64 lower- or upper-case hexadecimal digits.
const (
	keyPrefix  = "sluice-key-1:"
	keyComment = "# Cluster key of Sluice. With it and a drive, the secret keys of all S3 users\n" +
		"# can be read; without it, none. Keep a copy, apart from the drives.\n"
	keyFileMax = 4096 // bytes
)

// Errors of key files.
var (
	// ErrKeyFile: the file is not a key file.
	ErrKeyFile = errors.New("seal: not a key file")
	// ErrKeyMode: others than the owner may read or write the key file.
	ErrKeyMode = errors.New("seal: key file is open to other users")
)

// LoadOrCreate reads the key file, or, when it is absent and create is true,
// makes one with a random key. It never overwrites a file: of two processes that
// create at the same time, the second reads what the first made. A new file has
// mode 0600 and is on disk, its directory entry included, before the key is
// returned. Errors: fs.ErrNotExist (absent, and create is false, or no
// directory), ErrKeyMode, ErrKeyFile, and those of the file system.
func LoadOrCreate(path string, create bool) (*Key, error) {
	key, err := load(path)
	if !create || !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := createFile(path); err != nil {
		return nil, fmt.Errorf("seal: creating key file: %w", err)
	}
	return load(path)
}

func load(path string) (*Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is not a regular file", ErrKeyFile, path)
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return nil, fmt.Errorf("%w: %s has mode %04o; run: chmod 600 %s", ErrKeyMode, path, perm, path)
	}
	text, err := io.ReadAll(io.LimitReader(f, keyFileMax+1))
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	raw, err := parseKey(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, path)
	}
	return NewKey(raw), nil
}

// parseKey reads the text of a key file. Its errors never quote the text.
func parseKey(text []byte) (raw [32]byte, err error) {
	if len(text) > keyFileMax {
		return raw, ErrKeyFile
	}
	found := false
	for line := range bytes.Lines(text) {
		s := strings.TrimSpace(string(line))
		if s == "" || s[0] == '#' {
			continue
		}
		digits, ok := strings.CutPrefix(s, keyPrefix)
		if !ok || found || len(digits) != hex.EncodedLen(len(raw)) {
			return [32]byte{}, ErrKeyFile
		}
		if _, err := hex.Decode(raw[:], []byte(digits)); err != nil {
			return [32]byte{}, ErrKeyFile
		}
		found = true
	}
	if !found {
		return raw, ErrKeyFile
	}
	return raw, nil
}

func formatKey(raw [32]byte) []byte {
	return []byte(keyComment + keyPrefix + hex.EncodeToString(raw[:]) + "\n")
}

// createFile makes a key file. That another process was first is no error.
func createFile(path string) error {
	var raw [32]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return err
	}
	_, err := atomicfile.Create(path, formatKey(raw))
	return err
}
