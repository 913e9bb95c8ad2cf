package s3fast

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"mime/multipart"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/sluicehq/sluice/s3fast/s3err"
)

// dribble reads a few bytes at a time.
type dribble struct {
	r    io.Reader
	step int
}

func (p *dribble) Read(b []byte) (int, error) { return p.r.Read(b[:min(len(b), p.step)]) }

func readPieces(r io.Reader, step int) (string, error) {
	var out bytes.Buffer
	buf := make([]byte, step)
	for {
		n, err := r.Read(buf)
		out.Write(buf[:n])
		if err == io.EOF {
			return out.String(), nil
		}
		if err != nil {
			return out.String(), err
		}
	}
}

// FuzzPostForm reads forms: what is accepted is read by the standard library to
// the same fields and the same file, streamed and spooled.
func FuzzPostForm(f *testing.F) {
	f.Add([]byte(strings.ReplaceAll(form([][2]string{{"key", "k"}, {"b", ""}}, "content"), formBound, "B")), 5)
	f.Add([]byte(strings.ReplaceAll(formPart("file", "a\\b", "x")+formPart("s", "-", "u")+formClose, formBound, "B")), 1)
	f.Add([]byte("\r\n--B \r\nContent-Disposition: form-data; name=file\r\n\r\n\r\n--B--\r\n"), 3)
	f.Add([]byte("--B--\r\n"), 100)
	f.Add([]byte("--B\r\nContent-Disposition:form-data; name=\"000\"\r\n\r\n--B\r\n--B\r\nContent-Disposition:form-data;name=\"file\"\r\n\r\n0\r\n--B--"), 82)
	f.Add([]byte("--B\r\nContent-Disposition:form-data; name=\"file\"\r\n\r\n--B\r\n0\r\n--B--\r\n"), 1)
	f.Add([]byte("--B\r\nContent-Disposition: form-data;name=\"0\"\r\n :\r\n\r\n\r\n--B\r\nContent-Disposition: form-data;name=\"file\"\r\n\r\n\r\n--B--"), 5)
	f.Fuzz(func(t *testing.T, body []byte, step int) {
		step = 1 + step&0xff
		for _, memory := range []int64{0, 1 << 30} {
			s := &Server{forms: semaphore.NewWeighted(memory)}
			in := &formScanner{src: &dribble{bytes.NewReader(body), step}}
			form, err := readFormHead(in, "B")
			if err != nil {
				var e *s3err.Error
				if !errors.As(err, &e) && err != io.ErrUnexpectedEOF {
					t.Fatal(err)
				}
				return
			}
			release, err := s.openFile(form, in, "B", int64(len(body)))
			if err != nil {
				continue
			}
			got, err := readPieces(&form.file, step)
			release()
			if err != nil {
				continue
			}
			if int64(len(got)) != form.size {
				t.Fatalf("%d bytes, told %d", len(got), form.size)
			}
			compareForm(t, body, form, got)
		}
	})
}

// compareForm holds a form that was accepted against package mime/multipart,
// where that accepts it, too.
func compareForm(t *testing.T, body []byte, form *postForm, file string) {
	mr := multipart.NewReader(bytes.NewReader(body), "B")
	for i := 0; ; i++ {
		part, err := mr.NextRawPart()
		if err != nil {
			return
		}
		content, err := io.ReadAll(part)
		if err != nil {
			return
		}
		if i < len(form.fields) {
			if form.fields[i].value != string(content) || form.fields[i].name != strings.ToLower(part.FormName()) {
				t.Fatalf("field %d: %q, want %q", i, form.fields[i], content)
			}
			continue
		}
		if string(content) != file {
			t.Fatalf("file %q, want %q", file, content)
		}
		return
	}
}

// FuzzPostPolicy parses and evaluates policies.
func FuzzPostPolicy(f *testing.F) {
	f.Add(`{"expiration":"2030-01-01T00:00:00.000Z","conditions":[{"bucket":"b"},["starts-with","$key",""],["content-length-range",1,"10"]]}`)
	f.Add(`{"expiration":"2030-01-01T00:00:00Z","conditions":[["eq","$content-type","\$a"]]}`)
	f.Fuzz(func(t *testing.T, doc string) {
		p, err := parsePostPolicy(base64.StdEncoding.EncodeToString([]byte(doc)))
		if err != nil {
			if !isCode(err, s3err.InvalidPolicyDocument) {
				t.Fatal(err)
			}
			return
		}
		form := &postForm{fields: []pair{{"key", "k"}, {"x-amz-meta-not-named-9", "v"}}}
		if p.check(form, "b", time.Unix(0, 0)) == nil && !p.covers("x-amz-meta-not-named-9") {
			t.Fatal("a field that no condition names was accepted")
		}
		if p.min < 0 || p.checkSize(p.max) != nil && p.min <= p.max {
			t.Fatalf("%+v", p)
		}
	})
}

// BenchmarkFormFile streams content of line ends and dashes, where the search for
// the boundary has most to look at, and of zeros.
func BenchmarkFormFile(b *testing.B) {
	const size = 64 << 20
	tail := "\r\n--" + formBound + "--\r\n"
	for name, unit := range map[string]string{"dashes": "\r\n------x", "zeros": "\x00"} {
		content := []byte(strings.Repeat(unit, (1<<20)/len(unit)+1)[:1<<20])
		b.Run(name, func(b *testing.B) {
			b.SetBytes(size)
			buf := make([]byte, 1<<20)
			for b.Loop() {
				src := io.MultiReader(&repeated{content, size}, strings.NewReader(tail))
				f := &formFile{src: src, left: size, delim: []byte("\r\n--" + formBound), tail: []byte(tail)}
				for {
					if _, err := f.Read(buf); err == io.EOF {
						break
					} else if err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// repeated yields a block over and over, left bytes in all.
type repeated struct {
	block []byte
	left  int64
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(int64(len(p)), r.left)], r.block)
	r.left -= int64(n)
	return n, nil
}
