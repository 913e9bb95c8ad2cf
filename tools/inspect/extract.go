package main

import (
	"context"
	"crypto/md5" // #nosec G501: S3's ETag is one
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/seal"
)

// extraction is one object on its way into a file.
type extraction struct {
	m        *metadata
	drives   map[layout.DriveID]*disk
	b        *meta.Bucket
	o        *meta.Object
	key      *seal.DataKey // nil: not encrypted
	file     *os.File
	sum      hash.Hash
	at       int64 // of the object, bytes
	partial  bool
	log      io.Writer
	computed int
	holes    int64 // bytes that could not be read
}

// extract reads an object with what is left of the drives.
func extract(ctx context.Context, out io.Writer, args []string, o *options) (err error) {
	if o.out == "" {
		return usageError{errors.New("name the file to write (-o FILE)")}
	}
	n := len(args)
	m, err := openMetadata(ctx, args[0], o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	drives, err := openDrives(out, args[1:n-2])
	defer closeDrives(drives)
	if err != nil {
		return err
	}
	b, obj, err := m.object(args[n-2], args[n-1])
	if err != nil {
		return err
	}
	x := &extraction{m: m, drives: drives, b: &b, o: &obj, sum: md5.New(), partial: o.partial, log: out} // #nosec G401
	if obj.Seal != nil {
		if x.key, err = m.keys.ofObject(ctx, m.store, &b, &obj); err != nil {
			return err
		}
	}
	// Never over a file that is there: it might be the last copy of something.
	if x.file, err = os.OpenFile(o.out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return err
	}
	err = x.run(ctx)
	if err == nil {
		err = x.file.Sync()
	}
	if err = errors.Join(err, x.file.Close()); err != nil && !errors.Is(err, errProblems) {
		return errors.Join(err, os.Remove(o.out))
	}
	return err
}

func (x *extraction) run(ctx context.Context) error {
	pieces, err := x.m.pieces(x.b, x.o)
	if err != nil {
		return err
	}
	for i := range pieces {
		if err := x.piece(ctx, &pieces[i]); err != nil {
			return err
		}
	}
	if x.at != x.o.Size {
		return fmt.Errorf("its data has %d bytes, and its record says %d", x.at, x.o.Size)
	}
	if err := x.file.Truncate(x.at); err != nil {
		return err
	}
	fmt.Fprintf(x.log, "%d bytes written, %d units computed from others\n", x.at-x.holes, x.computed)
	if x.holes > 0 {
		fmt.Fprintf(x.log, "%d bytes could not be read and are holes\n", x.holes)
		return errProblems
	}
	return x.compare()
}

// compare holds the ETag against the data, where it is the MD5 of it.
func (x *extraction) compare() error {
	if x.o.PartCount > 0 || strings.Contains(x.o.ETag, "-") || x.o.Seal != nil && x.o.Seal.Mode != meta.SealS3 {
		return nil
	}
	if got := hex.EncodeToString(x.sum.Sum(nil)); got != x.o.ETag {
		fmt.Fprintf(x.log, "the data's MD5 is %s, and its ETag says %s\n", got, x.o.ETag)
		return errProblems
	}
	fmt.Fprintln(x.log, "the data's MD5 is that of its ETag")
	return nil
}

// piece writes the data of one blob.
func (x *extraction) piece(ctx context.Context, p *piece) error {
	blob := p.blob.Blob
	if p.size == 0 {
		return nil
	}
	var payload *seal.Payload
	stored := p.size
	if x.key != nil {
		payload = x.key.Payload(seal.Place{Bucket: uint64(x.b.ID), Blob: blob.ID, Part: p.part}, p.size)
		stored = seal.CipherSize(p.size)
	}
	if blob.Size != stored {
		return fmt.Errorf("blob %s has %d bytes, and its record says %d", blob.ID, blob.Size, stored)
	}
	if blob.Kind == layout.KindInline {
		data, err := meta.Inline(x.m.store, x.b.Slot, blob.ID)
		if err != nil {
			return err
		}
		return x.write(payload, 0, data)
	}
	placed, ok, err := meta.Locate(x.m.store, x.b.Slot, blob.ID)
	if err != nil || !ok {
		return errors.Join(err, fmt.Errorf("blob %s has no back-reference", blob.ID))
	}
	r, err := newRowReader(x.drives, &placed)
	if err != nil {
		return err
	}
	start := x.at
	for row := range r.g.Rows() {
		if err := ctx.Err(); err != nil {
			return err
		}
		var buf sliceWriter
		computed, err := r.read(row, &buf)
		x.computed += computed
		off := row * r.g.Row()
		if err == nil {
			err = x.write(payload, off, buf)
		}
		if err != nil {
			// Where the row's plain bytes begin and end in the object.
			lo, hi := plainAt(payload, off, p.size), plainAt(payload, off+r.g.Row(), p.size)
			err = fmt.Errorf("bytes %d to %d: %w", start+lo, start+hi, err)
			if !x.partial {
				return err
			}
			fmt.Fprintln(x.log, err)
			x.holes += hi - lo
			x.at = start + hi
		}
	}
	return nil
}

// plainAt returns the plain byte at which stored byte off of a payload begins.
func plainAt(payload *seal.Payload, off, size int64) int64 {
	if payload != nil {
		off = off / seal.ChunkStored * seal.ChunkPlain
	}
	return min(off, size)
}

// sliceWriter gathers a row.
type sliceWriter []byte

func (s *sliceWriter) Write(p []byte) (int, error) {
	*s = append(*s, p...)
	return len(p), nil
}

// write decrypts stored bytes, which begin at off of their blob with a whole chunk, and
// writes them.
func (x *extraction) write(payload *seal.Payload, off int64, data []byte) error {
	if payload == nil {
		return x.put(data)
	}
	var plain []byte
	for i := off / seal.ChunkStored; len(data) > 0; i++ {
		n := payload.Stored(i)
		if n == 0 || n > len(data) {
			return errors.New("an encrypted chunk is cut short")
		}
		open, err := payload.Open(i, data[:n])
		if err != nil {
			return err
		}
		plain, data = append(plain, open...), data[n:]
	}
	return x.put(plain)
}

func (x *extraction) put(data []byte) error {
	x.sum.Write(data) // never fails
	n, err := x.file.WriteAt(data, x.at)
	x.at += int64(n)
	return err
}
