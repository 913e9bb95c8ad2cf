package s3fast

import (
	"io"
	"sync"
)

// documentMost is the largest memory of a document that is kept, in bytes: a page
// of a thousand keys of ordinary length takes half of it.
const documentMost = 1 << 20

// documents lends the memory of large answers. A page of a listing is several
// hundred kilobytes, and would be garbage as soon as it has been sent.
type documents struct{ pool sync.Pool }

// document is an answer as a body stream, which fasthttp writes and then closes,
// whether or not it could be sent. It must not be used after that.
type document struct {
	text []byte
	read int        // by Read
	home *documents // nil once closed
}

// get returns an empty document; size is a guess of what it will take, in bytes.
func (p *documents) get(size int) *document {
	d, _ := p.pool.Get().(*document)
	if d == nil {
		d = new(document)
	}
	d.home = p
	if cap(d.text) < size {
		d.text = make([]byte, 0, size)
	}
	return d
}

// Read implements io.Reader; WriteTo is what is used.
func (d *document) Read(p []byte) (int, error) {
	if d.read == len(d.text) {
		return 0, io.EOF
	}
	n := copy(p, d.text[d.read:])
	d.read += n
	return n, nil
}

// WriteTo implements io.WriterTo.
func (d *document) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(d.text[d.read:])
	d.read += n
	return int64(n), err
}

// SupportsBodyWriteTo tells fasthttp to prefer WriteTo.
func (d *document) SupportsBodyWriteTo() bool { return true }

// Close gives the memory back.
func (d *document) Close() error {
	home := d.home
	if home == nil {
		return nil // closed already
	}
	if cap(d.text) > documentMost {
		d.text = nil
	}
	d.text, d.read, d.home = d.text[:0], 0, nil
	home.pool.Put(d)
	return nil
}

// answerDocument answers 200 with a document, which it takes over.
func (r *request) answerDocument(d *document) {
	r.ctx.Response.Header.SetContentType(contentXML)
	r.ctx.Response.SetBodyStream(d, len(d.text))
}
