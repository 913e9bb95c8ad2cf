package s3fast

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"strings"
	"unicode/utf8"

	"github.com/sluicehq/sluice/s3fast/s3err"
)

// The body of a PostObject is a multipart/form-data document (RFC 7578, in the
// grammar of RFC 2046, section 5.1.1):
//
//	[CRLF] "--" boundary CRLF
//	part header lines, CRLF, CRLF, value            a field; any number of them
//	CRLF "--" boundary CRLF
//	part header lines, CRLF, CRLF, content          the part named "file"
//	CRLF "--" boundary "--" CRLF                    the end
//
// Fields that follow the file are ignored, as S3 does.

// Bounds of a form, in bytes.
const (
	maxFormHead  = 64 << 10 // everything before the file's content
	maxFormField = 20 << 10 // one field's value (S3: 20 KB for all of them)
	maxPartHead  = 4 << 10  // the header lines of a part
	maxBoundary  = 70       // RFC 2046, section 5.1.1
	maxFormParts = 200      // fields
)

// postForm is a form, read up to the content of its file.
type postForm struct {
	fields   []pair // names lower-case, in the order of the form
	filename string // of the file, without a path; "" not told
	file     formFile
	size     int64 // of the file's content, bytes
}

// get returns a field; name in lower case.
func (f *postForm) get(name string) (string, bool) {
	for i := range f.fields {
		if f.fields[i].name == name {
			return f.fields[i].value, true
		}
	}
	return "", false
}

func (f *postForm) value(name string) string {
	v, _ := f.get(name)
	return v
}

// formBoundary returns the boundary of a Content-Type of multipart/form-data.
// Error: PreconditionFailed as S3 answers to a form of another type.
func formBoundary(contentType string) (string, error) {
	kind, params, err := mime.ParseMediaType(contentType)
	b := params["boundary"]
	if err != nil || kind != "multipart/form-data" {
		return "", s3err.PreconditionFailed.Say("Bucket POST must be of the enclosure-type multipart/form-data").
			With("Condition", "Bucket POST must be of the enclosure-type multipart/form-data")
	}
	if b == "" || len(b) > maxBoundary || strings.HasSuffix(b, " ") || !headerSafe(b) {
		return "", malformedForm("the boundary is missing or not valid")
	}
	return b, nil
}

func malformedForm(why string) error {
	return s3err.MalformedPOSTRequest.Say("The body of your POST request is not well-formed multipart/form-data: " + why + ".")
}

// formScanner reads the head of a form: all that precedes the file's content.
type formScanner struct {
	src io.Reader
	buf []byte // what was read, from the first byte of the body
	pos int    // what was taken
}

// until takes what precedes delim, and delim. At most max bytes may precede it.
func (s *formScanner) until(delim []byte, max int) ([]byte, error) {
	from := s.pos
	for {
		if i := bytes.Index(s.buf[from:], delim); i >= 0 {
			out := s.buf[s.pos : from+i]
			if len(out) > max {
				return nil, s3err.MaxPostPreDataLengthExceeded.New()
			}
			s.pos = from + i + len(delim)
			return out, nil
		}
		from = s.pos + resumeAt(len(s.buf)-s.pos, len(delim))
		if len(s.buf)-s.pos > max+len(delim) {
			return nil, s3err.MaxPostPreDataLengthExceeded.New()
		}
		if err := s.more(); err != nil {
			return nil, err
		}
	}
}

// resumeAt is where to go on looking for a delimiter in n bytes that do not hold
// it, when more arrive.
func resumeAt(n, delim int) int { return max(0, n-delim+1) }

// more reads on. A form that ends here is malformed: its file is missing.
func (s *formScanner) more() error {
	if len(s.buf) >= maxFormHead {
		return s3err.MaxPostPreDataLengthExceeded.New()
	}
	if len(s.buf) == cap(s.buf) {
		grown := make([]byte, len(s.buf), min(max(2*cap(s.buf), 8<<10), maxFormHead))
		copy(grown, s.buf)
		s.buf = grown
	}
	n, err := readSomeForm(s.src, s.buf[len(s.buf):cap(s.buf)])
	s.buf = s.buf[:len(s.buf)+n]
	return err
}

// readSomeForm reads at least one byte or fails.
func readSomeForm(src io.Reader, p []byte) (int, error) {
	for range 100 {
		n, err := src.Read(p)
		switch {
		case n > 0:
			return n, nil
		case err == io.EOF:
			return 0, io.ErrUnexpectedEOF
		case err != nil:
			return 0, err
		}
	}
	return 0, io.ErrNoProgress
}

// readFormHead reads the fields of a form and the header of its file part. left
// is what remains of the body: scanner.buf[scanner.pos:], then src. Errors:
// MalformedPOSTRequest, MaxPostPreDataLengthExceeded, IncorrectNumberOfFiles,
// and those of src.
func readFormHead(s *formScanner, boundary string) (*postForm, error) {
	first, delim := []byte("--"+boundary), []byte("\r\n--"+boundary)
	lead, err := s.until(first, 2)
	var tooLong *s3err.Error
	if errors.As(err, &tooLong) || err == nil && len(lead) != 0 && string(lead) != "\r\n" {
		return nil, malformedForm("it does not begin with the boundary")
	}
	if err != nil {
		return nil, err
	}
	f := &postForm{}
	for range maxFormParts {
		end, err := s.line()
		if err != nil {
			return nil, formEnd(err, "a boundary is not followed by a line's end")
		}
		if end {
			return nil, s3err.IncorrectNumberOfFilesInPostRequest.New()
		}
		name, filename, err := s.partHead()
		if err != nil {
			return nil, err
		}
		if name == "file" {
			f.filename = filename
			return f, nil
		}
		value, err := s.value(delim, maxFormField)
		if err != nil {
			return nil, err
		}
		if _, twice := f.get(name); twice {
			return nil, malformedForm("a field occurs more than once")
		}
		if !utf8.Valid(value) {
			return nil, malformedForm("a field is not UTF-8")
		}
		f.fields = append(f.fields, pair{name, string(value)})
	}
	return nil, s3err.MaxPostPreDataLengthExceeded.New()
}

// value takes a part's content and the delimiter after it. The line end before
// the content may be that of the delimiter: there is no content then.
func (s *formScanner) value(delim []byte, max int) ([]byte, error) {
	s.pos -= len("\r\n")
	v, err := s.until(delim, max+len("\r\n"))
	if err != nil || len(v) == 0 {
		return nil, err
	}
	return v[len("\r\n"):], nil
}

// formEnd turns the end of what was looked for into the error to answer.
func formEnd(err error, why string) error {
	if err == nil {
		return malformedForm(why)
	}
	return err
}

// line takes the rest of a boundary line: padding and CRLF, or "--", which ends
// the form.
func (s *formScanner) line() (end bool, err error) {
	rest, err := s.until([]byte("\r\n"), 64)
	if err != nil {
		return false, err
	}
	if bytes.HasPrefix(rest, []byte("--")) {
		return true, nil
	}
	if len(bytes.Trim(rest, " \t")) != 0 {
		return false, malformedForm("a boundary is followed by text")
	}
	return false, nil
}

// partHead takes a part's header lines, and returns its name in lower case.
func (s *formScanner) partHead() (name, filename string, err error) {
	found := false
	for left := maxPartHead; ; {
		line, err := s.until([]byte("\r\n"), left)
		if err != nil {
			return "", "", err
		}
		left -= len(line)
		if len(line) == 0 {
			break
		}
		key, value, ok := strings.Cut(string(line), ":")
		if !ok || !headerName(key) { // folded lines, too: they can be read in two ways
			return "", "", malformedForm("a part has a header line without a name")
		}
		switch strings.ToLower(key) {
		case "content-disposition":
			kind, params, perr := mime.ParseMediaType(value)
			if perr != nil || kind != "form-data" || params["name"] == "" || found {
				return "", "", malformedForm("a part has no valid Content-Disposition")
			}
			name, filename, found = strings.ToLower(params["name"]), params["filename"], true
		case "content-transfer-encoding":
			switch strings.ToLower(strings.TrimSpace(value)) {
			case "7bit", "8bit", "binary":
			default:
				return "", "", malformedForm("a part has a Content-Transfer-Encoding")
			}
		}
	}
	if !found || !utf8.ValidString(name) || !utf8.ValidString(filename) {
		return "", "", malformedForm("a part has no valid Content-Disposition")
	}
	// Some browsers send a path; what follows its last separator is the name.
	return name, filename[strings.LastIndexAny(filename, `/\`)+1:], nil
}
