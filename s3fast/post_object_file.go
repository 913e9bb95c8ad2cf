package s3fast

import (
	"bytes"
	"io"

	"github.com/sluicehq/sluice/s3fast/s3err"
)

const (
	// formSpool is the most of a form, from the file's content on, that is read
	// into memory before it is stored: such forms may end as they like.
	formSpool = 1 << 20
	// formMemory bounds what all forms hold in memory for that; beyond it, forms
	// are streamed.
	formMemory = 64 << 20
)

// errFormTail: the file's length cannot be told from the form's.
func errFormTail() error {
	return malformedForm("in a form of more than 1 MiB, the file must be the last field, followed by nothing but the closing boundary and CRLF")
}

// openFile finds the length of the file's content and makes it readable. wire is
// the length of the whole body. release gives back the memory that the file
// holds, and may be called once.
//
// The engine must know the length beforehand, and a form tells it nowhere. A form
// small enough is read to its end. Of others, the file is taken to be the last
// part: the length is what remains of the body without the closing boundary. The
// reader then proves that, by finding no boundary within the content, and
// exactly the closing one after it.
func (s *Server) openFile(f *postForm, in *formScanner, boundary string, wire int64) (release func(), err error) {
	rest := wire - int64(in.pos)
	tail := []byte("\r\n--" + boundary + "--\r\n")
	delim := tail[:len(tail)-len("--\r\n")]
	head := in.buf[in.pos:]
	if rest < int64(len(delim)) || rest < int64(len(head)) {
		return nil, malformedForm("it ends before its closing boundary")
	}
	if rest <= formSpool && s.forms.TryAcquire(rest) {
		release = func() { s.forms.Release(rest) }
		all := make([]byte, rest)
		n := copy(all, head)
		if _, err := io.ReadFull(in.src, all[n:]); err != nil {
			release()
			return nil, err
		}
		content, err := splitFile(all, delim)
		if err != nil {
			release()
			return nil, err
		}
		f.size = int64(len(content))
		f.file = formFile{head: content, left: f.size}
		return release, nil
	}
	f.size = rest - int64(len(tail))
	if f.size < 0 {
		return nil, errFormTail()
	}
	f.file = formFile{head: head, src: in.src, left: f.size, delim: delim, tail: tail, last: []byte("\r\n")}
	return func() {}, nil
}

// splitFile returns the content of the file at the beginning of the rest of a
// form. Of the fields that follow, none may be another file.
func splitFile(rest, delim []byte) ([]byte, error) {
	i := bytes.Index(rest, delim)
	if bytes.HasPrefix(rest, delim[len("\r\n"):]) {
		return nil, malformedForm("the file's part is cut short")
	}
	if i < 0 {
		return nil, malformedForm("it ends before its closing boundary")
	}
	content := rest[:i]
	s := &formScanner{src: eofReader{}, buf: rest, pos: i + len(delim)}
	for range maxFormParts {
		if bytes.HasPrefix(rest[s.pos:], []byte("--")) {
			return content, nil
		}
		if _, err := s.line(); err != nil {
			return nil, formEnd(nil, "it ends before its closing boundary")
		}
		name, _, err := s.partHead()
		switch {
		case err != nil:
			return nil, malformedForm("a part after the file has no valid header")
		case name == "file":
			return nil, s3err.IncorrectNumberOfFilesInPostRequest.New()
		}
		if _, err := s.value(delim, len(rest)); err != nil {
			return nil, malformedForm("it ends before its closing boundary")
		}
	}
	return nil, malformedForm("it has too many parts")
}

// formFile yields the content of a form's file: left bytes, then io.EOF once
// what follows has been verified. It allocates a few bytes and copies none, but
// for those that came along with the form's head.
type formFile struct {
	head  []byte    // read already
	src   io.Reader // what follows head; nil: nothing, and there is nothing to verify
	left  int64
	delim []byte // CRLF "--" boundary: must not occur in the content
	tail  []byte // delim "--" CRLF: must follow it
	last  []byte // the end of the content so far, shorter than delim
	err   error
}

// Read implements io.Reader.
func (f *formFile) Read(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	if f.left == 0 {
		if f.err = f.end(); f.err == nil {
			f.err = io.EOF
		}
		return 0, f.err
	}
	if int64(len(p)) > f.left {
		p = p[:f.left]
	}
	if len(p) == 0 {
		return 0, nil
	}
	n := copy(p, f.head)
	f.head = f.head[n:]
	if n == 0 {
		if f.src == nil {
			f.err = io.ErrUnexpectedEOF
			return 0, f.err
		}
		if n, f.err = readSomeForm(f.src, p); f.err != nil {
			return 0, f.err
		}
	}
	if f.delim != nil && f.ends(p[:n]) {
		f.err = errFormTail()
		return 0, f.err
	}
	f.left -= int64(n)
	return n, nil
}

// ends looks for the delimiter in the next piece of the content, and across its
// edge with the one before.
func (f *formFile) ends(p []byte) bool {
	if bytes.Contains(p, f.delim) {
		return true
	}
	keep := len(f.delim) - 1
	edge := append(f.last, p[:min(len(p), keep)]...)
	if bytes.Contains(edge, f.delim) {
		return true
	}
	if len(p) >= keep {
		f.last = append(f.last[:0], p[len(p)-keep:]...)
		return false
	}
	f.last = append(f.last[:0], edge[max(0, len(edge)-keep):]...)
	return false
}

// end verifies what follows the content.
func (f *formFile) end() error {
	if f.tail == nil {
		return nil
	}
	// One byte more, which must not come.
	got := make([]byte, len(f.tail)+1)
	n := copy(got, f.head)
	f.head = nil
	m, err := io.ReadFull(f.src, got[n:])
	switch {
	case err == nil:
		return errFormTail()
	case err != io.EOF && err != io.ErrUnexpectedEOF:
		return err
	case n+m < len(f.tail):
		// Not io.ErrUnexpectedEOF: an end is what is expected here.
		return s3err.IncompleteBody.New()
	case !bytes.Equal(got[:n+m], f.tail):
		return errFormTail()
	}
	return nil
}
