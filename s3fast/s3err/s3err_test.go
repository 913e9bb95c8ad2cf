package s3err

import (
	"encoding/xml"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"strconv"
	"strings"
	"testing"
)

func TestAppend(t *testing.T) {
	e := NoSuchKey.With("Key", "a&b\x01", "BucketName", "b", "Code", "no", "bad name", "no", "odd")
	got := string(Append([]byte("x"), e, "/b/<k>", "R1", "H1"))
	want := `x<?xml version="1.0" encoding="UTF-8"?>` + "\n" +
		`<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message>` +
		`<BucketName>b</BucketName><Key>a&amp;b&#x1;</Key><Resource>/b/&lt;k&gt;</Resource>` +
		`<RequestId>R1</RequestId><HostId>H1</HostId></Error>`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	doc := Append(nil, InvalidArgument.Say("no <good>"), "", "R", "")
	var back struct{ Code, Message, RequestId string }
	if err := xml.Unmarshal(doc, &back); err != nil || back.Code != "InvalidArgument" || back.Message != "no <good>" || back.RequestId != "R" {
		t.Errorf("%+v, %v", back, err)
	}
	if strings.Contains(string(doc), "Resource") {
		t.Error("empty Resource is written")
	}
}

func TestError(t *testing.T) {
	e := InternalError.Because(io.ErrUnexpectedEOF)
	if !errors.Is(e, io.ErrUnexpectedEOF) || e.Error() != "InternalError: unexpected EOF" || e.Text() != InternalError.Message {
		t.Error(e)
	}
	if AccessDenied.New().Error() != "AccessDenied" || AccessDenied.New().Unwrap() != nil {
		t.Error("no cause")
	}
	if e.Code != InternalError {
		t.Error("codes compare by pointer")
	}
}

// Every row of the table is complete and its code is used once.
func TestTable(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "table.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		lit, ok := n.(*ast.CompositeLit)
		if !ok {
			return true
		}
		code, _ := strconv.Unquote(lit.Elts[0].(*ast.BasicLit).Value)
		status, _ := strconv.Atoi(lit.Elts[1].(*ast.BasicLit).Value)
		message, _ := strconv.Unquote(lit.Elts[2].(*ast.BasicLit).Value)
		if code == "" || seen[code] || status < 300 || status > 599 || message == "" {
			t.Errorf("%s %d %q", code, status, message)
		}
		seen[code] = true
		return true
	})
	if len(seen) < 80 {
		t.Errorf("%d codes", len(seen))
	}
}
