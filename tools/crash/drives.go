package main

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// searchDrives looks for what nobody may read on the drives of an encrypted
// cluster: the beginnings of keys and of the values of user metadata, and names; of
// 6 bytes and more, since bodies hold any shorter text by chance. On a plain one it
// makes sure that there is something to find.
func (t *tester) searchDrives() error {
	var found []string
	for _, text := range []string{"race/0", "r1-w1-", accessKey, secretKey} {
		for _, drive := range t.node.drives {
			err := filepath.WalkDir(drive, func(path string, e fs.DirEntry, err error) error {
				if err != nil || e.IsDir() {
					return ignoreGone(err)
				}
				has, err := fileHas(path, []byte(text))
				if has {
					found = append(found, text+" in "+path)
				}
				return ignoreGone(err)
			})
			if err != nil {
				return err
			}
		}
	}
	switch {
	case t.o.encrypted && len(found) > 0:
		return violate("the drives of an encrypted cluster show %v", found)
	case !t.o.encrypted && len(found) == 0:
		return errors.New("nothing was found on the drives of a plain cluster: the search is wrong")
	}
	return nil
}

// ignoreGone passes over files that the daemon removed meanwhile.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// fileHas reports whether a file contains text.
func fileHas(path string, text []byte) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	buf := make([]byte, mib)
	for kept := 0; ; {
		n, err := io.ReadFull(f, buf[kept:])
		if bytes.Contains(buf[:kept+n], text) {
			return true, nil
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		kept = copy(buf, buf[len(buf)-len(text)+1:])
	}
}
