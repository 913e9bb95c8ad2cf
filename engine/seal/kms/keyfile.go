package kms

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sluicehq/sluice/engine/seal/atomicfile"
)

// Format of the key file: text, lines ending in "\n". Lines that are empty or
// begin with "#" are skipped. Any other is one version of one key:
//
//	sluice-kek-1:NAME:VERSION:KEY
//
// NAME is as CheckName has it, VERSION a decimal number 1 … 4294967295, KEY 32
// bytes as 64 hexadecimal digits. A key's versions stand in any order, none
// twice; the greatest is the newest. The file is written whole, under another
// name, synced, and renamed.
const (
	kekPrefix  = "sluice-kek-1:"
	kekComment = "# Key-encryption keys of Sluice. Without them nothing of an encrypted cluster\n" +
		"# can be read, by anybody; with them and a drive, everything. Keep a copy, apart\n" +
		"# from the drives, and a new one after each rotation.\n"
	maxKeyFile = 1 << 20 // bytes
	maxName    = 64      // bytes
	maxVersion = 1<<32 - 1
)

// Errors of key files.
var (
	// ErrKeyFile: the file is not a file of key-encryption keys.
	ErrKeyFile = errors.New("kms: not a file of key-encryption keys")
	// ErrKeyMode: others than the owner may read or write the key file.
	ErrKeyMode = errors.New("kms: key file is open to other users")
	// ErrName: no such name can be given to a key.
	ErrName = errors.New("kms: a key's name has 1-64 letters, digits, '.', '_' and '-', and begins with a letter or digit")
)

// kek is one version of a key-encryption key.
type kek struct {
	version uint32
	key     [32]byte
}

// Format keeps the key out of logs and messages, whatever the verb.
func (k kek) Format(s fmt.State, _ rune) { fmt.Fprintf(s, "[version %d]", k.version) }

// versions of one key, ascending.
type versions []kek

func (v versions) find(version uint32) *kek {
	i, ok := slices.BinarySearchFunc(v, version, func(k kek, want uint32) int {
		return int(int64(k.version) - int64(want))
	})
	if !ok {
		return nil
	}
	return &v[i]
}

// newest is the greatest version, 0 when there is none.
func (v versions) newest() uint32 {
	if len(v) == 0 {
		return 0
	}
	return v[len(v)-1].version
}

// keySet is the contents of a key file.
type keySet map[string]versions

// CheckName tells whether a key may have this name. ErrName.
func CheckName(name string) error {
	if name == "" || len(name) > maxName {
		return ErrName
	}
	for i, c := range []byte(name) {
		alnum := c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
		if !alnum && (i == 0 || c != '.' && c != '_' && c != '-') {
			return ErrName
		}
	}
	return nil
}

// parseKeys reads the text of a key file. Its errors name the line and never
// quote it.
func parseKeys(text []byte) (keySet, error) {
	if len(text) > maxKeyFile {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrKeyFile, maxKeyFile)
	}
	keys := keySet{}
	n := 0
	for line := range bytes.Lines(text) {
		n++
		s := strings.TrimSpace(string(line))
		if s == "" || s[0] == '#' {
			continue
		}
		name, k, ok := parseLine(s)
		if !ok {
			return nil, fmt.Errorf("%w: line %d", ErrKeyFile, n)
		}
		at, found := slices.BinarySearchFunc(keys[name], k, func(a, b kek) int { return int(int64(a.version) - int64(b.version)) })
		if found {
			return nil, fmt.Errorf("%w: line %d: version %d of %q stands there twice", ErrKeyFile, n, k.version, name)
		}
		keys[name] = slices.Insert(keys[name], at, k)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%w: it holds no key", ErrKeyFile)
	}
	return keys, nil
}

func parseLine(s string) (name string, k kek, ok bool) {
	rest, ok := strings.CutPrefix(s, kekPrefix)
	fields := strings.Split(rest, ":")
	if !ok || len(fields) != 3 || CheckName(fields[0]) != nil || len(fields[2]) != hex.EncodedLen(len(k.key)) {
		return "", kek{}, false
	}
	version, err := strconv.ParseUint(fields[1], 10, 32)
	if err != nil || version == 0 || fields[1][0] == '0' || fields[1][0] == '+' {
		return "", kek{}, false
	}
	k.version = uint32(version)
	if _, err := hex.Decode(k.key[:], []byte(fields[2])); err != nil {
		return "", kek{}, false
	}
	return fields[0], k, true
}

// format is the text of a key file: keys by name, versions ascending.
func (keys keySet) format() []byte {
	out := []byte(kekComment)
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		for _, k := range keys[name] {
			out = fmt.Appendf(out, "%s%s:%d:%x\n", kekPrefix, name, k.version, k.key)
		}
	}
	return out
}

// holds tells whether keys has all of older: a file that another one took the
// place of must not be taken for the one that was opened.
func (keys keySet) holds(older keySet) error {
	for name, vs := range older {
		for _, k := range vs {
			if found := keys[name].find(k.version); found == nil || found.key != k.key {
				return fmt.Errorf("%w: version %d of %q is no longer in the key file: restore it", ErrNoKey, k.version, name)
			}
		}
	}
	return nil
}

func readKeyFile(path string) (keySet, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("kms: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("kms: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is not a regular file", ErrKeyFile, path)
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return nil, fmt.Errorf("%w: %s has mode %04o; run: chmod 600 %s", ErrKeyMode, path, perm, path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("kms: %w", err)
	}
	keys, err := parseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, path)
	}
	return keys, nil
}

// writeFile puts a whole, synced file of mode 0600 in path's place, or, with
// fresh, makes one: then it fails with fs.ErrExist where there is one by now.
// Its directory entry is durable when it returns nil.
func writeFile(path string, text []byte, fresh bool) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // the link stays
	}
	if fresh {
		made, err := atomicfile.Create(path, text)
		if err == nil && !made {
			err = fs.ErrExist
		}
		return err
	}
	return atomicfile.Replace(path, text)
}
