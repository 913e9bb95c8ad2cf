package meta

import (
	"bytes"
	"fmt"
	"strings"
)

// maxPage is the most entries of a page (AWS: ListObjectsV2, MaxKeys).
const maxPage = 1000

// ListObjectsRequest selects keys of a bucket.
type ListObjectsRequest struct {
	Prefix, Delimiter string
	After             string // exclusive; keys and common prefixes ≤ After are skipped
	Max               int    // keys plus common prefixes, 0…1000
}

// ListObjectsPage is one page of keys. Items and Prefixes are each in order.
type ListObjectsPage struct {
	Items     []ListItem
	Prefixes  []string
	Truncated bool
	Next      string // pass as After to go on: the last key or common prefix returned
}

// commonPrefix returns the part of key up to the first delimiter behind prefix,
// or "" when there is none. key begins with prefix.
func commonPrefix(key, prefix, delimiter string) string {
	if delimiter == "" {
		return ""
	}
	if i := strings.Index(key[len(prefix):], delimiter); i >= 0 {
		return key[:len(prefix)+i+len(delimiter)]
	}
	return ""
}

// commonEnd is commonPrefix for a key in bytes: the length of the common prefix, or 0.
func commonEnd(key []byte, prefix int, delimiter string) int {
	if delimiter == "" {
		return 0
	}
	for at := prefix; ; {
		i := bytes.IndexByte(key[at:], delimiter[0])
		if i < 0 || len(key)-at-i < len(delimiter) {
			return 0
		}
		at += i
		if string(key[at:at+len(delimiter)]) == delimiter {
			return at + len(delimiter)
		}
		at++
	}
}

// ListObjects reads a page. With a delimiter it seeks past each common prefix
// and never reads the keys below it. A common prefix counts as ≤ After also when
// After lies below it.
func ListObjects(r Reader, b *Bucket, req ListObjectsRequest) (page ListObjectsPage, err error) {
	limit := min(req.Max, maxPage)
	base := len(headKey(b, ""))
	lo := headKey(b, req.Prefix)
	hi := successor(lo)
	if req.After != "" {
		at := append(headKey(b, req.After), 0)
		if strings.HasPrefix(req.After, req.Prefix) {
			if cp := commonPrefix(req.After, req.Prefix, req.Delimiter); cp != "" {
				at = successor(headKey(b, cp))
			}
		}
		if bytes.Compare(at, lo) > 0 {
			lo = at
		}
	}
	if limit <= 0 || bytes.Compare(lo, hi) >= 0 {
		return page, nil
	}
	it := r.Iter(lo, hi)
	defer closing(it, &err)
	l := lister{page: &page, base: base, limit: limit, prev: new(ListItem)}
	for ok := it.Next(); ok; {
		if len(page.Items)+len(page.Prefixes) == limit {
			page.Truncated = true
			break
		}
		key := it.Key()[base:]
		if end := commonEnd(key, len(req.Prefix), req.Delimiter); end > 0 {
			cp := l.text.put(key[:end])
			page.Next = cp
			page.Prefixes = append(page.Prefixes, cp)
			l.seek = appendSuccessor(l.seek[:0], it.Key()[:base+end])
			if bytes.Compare(l.seek, hi) >= 0 {
				break
			}
			ok = it.SeekGE(l.seek)
			continue
		}
		if err := l.add(key, it); err != nil {
			return ListObjectsPage{}, err
		}
		ok = it.Next()
	}
	if err := it.Err(); err != nil {
		return ListObjectsPage{}, err
	}
	return page, nil
}

// lister fills a page.
type lister struct {
	page        *ListObjectsPage
	base, limit int
	prev        *ListItem // the item before
	text        texts
	seek        []byte // the key to go on at
}

// firstItems is the number of items that memory is taken for at first; a page that has
// more is likely to be full.
const firstItems = 16

// add appends the item at which it stands.
func (l *lister) add(key []byte, it Iterator) error {
	v, err := it.Value()
	if err != nil {
		return err
	}
	items := l.page.Items
	if len(items) == cap(items) {
		n := firstItems
		if len(items) > 0 {
			n = l.limit
		}
		items = append(make([]ListItem, 0, min(n, l.limit)), items...)
	}
	items = append(items, ListItem{Key: l.text.put(key)})
	at := &items[len(items)-1]
	if err := decodeListing(v, at, l.prev, &l.text); err != nil {
		return err
	}
	l.page.Items, l.page.Next, l.prev = items, at.Key, at
	return nil
}

// ListUploadsRequest selects uploads in progress.
type ListUploadsRequest struct {
	Prefix, Delimiter string
	KeyMarker         string
	UploadIDMarker    [16]byte // with KeyMarker: uploads of that key after this id; zero: keys after KeyMarker only
	Max               int      // uploads plus common prefixes, 0…1000
}

// ListUploadsPage is one page of uploads, by key, then by time of initiation.
type ListUploadsPage struct {
	Uploads            []Upload
	Prefixes           []string
	Truncated          bool
	NextKeyMarker      string
	NextUploadIDMarker [16]byte // zero behind a common prefix
}

// start returns where the listing begins: just above the marker.
func (req *ListUploadsRequest) start(b *Bucket, base []byte) []byte {
	lo := appendEscaped(bytes.Clone(base), req.Prefix)
	if req.KeyMarker == "" {
		return lo
	}
	var at []byte
	cp := ""
	if strings.HasPrefix(req.KeyMarker, req.Prefix) {
		cp = commonPrefix(req.KeyMarker, req.Prefix, req.Delimiter)
	}
	switch {
	case cp != "":
		at = successor(appendEscaped(bytes.Clone(base), cp))
	case req.UploadIDMarker != [16]byte{}:
		at = append(uploadKey(b, req.KeyMarker, req.UploadIDMarker), 0)
	default: // above every upload of the key, below every longer key
		at = append(appendEscaped(bytes.Clone(base), req.KeyMarker), 0, 2)
	}
	if bytes.Compare(at, lo) > 0 {
		return at
	}
	return lo
}

// ListUploads reads a page. Common prefixes are skipped as in ListObjects.
func ListUploads(r Reader, b *Bucket, req ListUploadsRequest) (page ListUploadsPage, err error) {
	limit := min(req.Max, maxPage)
	base := bucketKey(b.Slot, typeUpload, b.ID, 0)
	lo := req.start(b, base)
	hi := successor(appendEscaped(bytes.Clone(base), req.Prefix))
	if limit <= 0 || bytes.Compare(lo, hi) >= 0 {
		return page, nil
	}
	it := r.Iter(lo, hi)
	defer closing(it, &err)
	for ok := it.Next(); ok; {
		if len(page.Uploads)+len(page.Prefixes) == limit {
			page.Truncated = true
			break
		}
		key, rest, sound := cutEscaped(it.Key()[len(base):])
		if !sound || len(rest) != 16 {
			return ListUploadsPage{}, fmt.Errorf("%w: upload key", ErrBadRecord)
		}
		if cp := commonPrefix(key, req.Prefix, req.Delimiter); cp != "" {
			page.Prefixes = append(page.Prefixes, cp)
			page.NextKeyMarker, page.NextUploadIDMarker = cp, [16]byte{}
			next := successor(appendEscaped(bytes.Clone(base), cp))
			if bytes.Compare(next, hi) >= 0 {
				break
			}
			ok = it.SeekGE(next)
			continue
		}
		v, err := it.Value()
		if err != nil {
			return ListUploadsPage{}, err
		}
		id := [16]byte(rest)
		u, err := readUpload(b, key, id, v)
		if err != nil {
			return ListUploadsPage{}, err
		}
		page.Uploads = append(page.Uploads, u)
		page.NextKeyMarker, page.NextUploadIDMarker = key, id
		ok = it.Next()
	}
	if err := it.Err(); err != nil {
		return ListUploadsPage{}, err
	}
	return page, nil
}
