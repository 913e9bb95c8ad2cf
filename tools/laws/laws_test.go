package laws

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/sluicehq/sluice"

// root is the repository, seen from this package's folder.
const root = "../.."

// Limits of the house. Tests and tables may be longer than code.
const (
	maxFileLines = 520
	maxFuncLines = 75
)

// mayImport lists, for each package of Sluice, the other packages of Sluice
// that its code (not its tests) may import. A package that is not listed fails
// the test: adding one means saying where it stands.
var mayImport = map[string][]string{
	"ioring":                          {},
	"ioring/faultio":                  {"ioring"},
	"ioring/devicetest":               {"ioring"},
	"engine/layout":                   {},
	"engine/checksum":                 {"engine/checksum/md5lanes"},
	"engine/checksum/md5lanes":        {},
	"engine/checksum/md5lanes/gen":    {},
	"engine/seal":                     {"engine/seal/atomicfile"},
	"engine/seal/atomicfile":          {},
	"engine/seal/kms":                 {"engine/seal/atomicfile"},
	"engine/seal/kms/kmstest":         {},
	"engine/seal/keyring":             {"engine/seal/atomicfile", "engine/seal", "engine/seal/kms"},
	"engine/drive":                    {"ioring", "engine/layout", "engine/checksum"},
	"engine/meta":                     {"engine/layout"},
	"engine/meta/pebblemeta":          {"engine/meta", "engine/layout", "engine/meta/pebblemeta/mirrorfs"},
	"engine/meta/metatest":            {"engine/meta", "engine/layout"},
	"engine/meta/pebblemeta/faultfs":  {},
	"engine/meta/pebblemeta/mirrorfs": {},
	"engine/metahome":                 {"engine/seal/atomicfile"},
	"engine/erasure":                  {"engine/layout"},
	"engine":                          {"ioring", "engine/layout", "engine/checksum", "engine/drive", "engine/erasure", "engine/meta", "engine/seal"},
	"s3fast/s3err":                    {"s3fast/s3xml"},
	"s3fast/s3xml":                    {},
	"s3fast/sigv4":                    {},
	"s3fast/policy":                   {},
	"s3fast/audit":                    {"engine/seal"},
	"s3fast/oidc":                     {},
	"s3fast/body":                     {"engine/checksum", "s3fast/sigv4"},
	"s3fast/iam":                      {"engine/seal", "s3fast/policy"},
	"s3fast": {"engine", "engine/checksum", "engine/layout", "engine/meta", "engine/seal", "engine/seal/keyring",
		"engine/seal/kms", "s3fast/audit", "s3fast/body", "s3fast/iam", "s3fast/oidc", "s3fast/policy", "s3fast/s3err",
		"s3fast/s3xml", "s3fast/sigv4"},
	"daemon/api":    {},
	"daemon/smart":  {},
	"daemon/config": {"daemon/api"},
	"daemon": {"daemon/api", "daemon/config", "daemon/smart", "engine", "engine/drive", "engine/layout", "engine/meta", "engine/meta/pebblemeta",
		"engine/metahome", "engine/seal", "engine/seal/atomicfile", "engine/seal/keyring", "engine/seal/kms", "ioring", "s3fast", "s3fast/audit", "s3fast/iam",
		"s3fast/oidc", "s3fast/policy"},
	"ctl":              {"daemon/api"},
	"bench":            {"bench/htmlreport", "ioring", "s3fast/sigv4"},
	"bench/htmlreport": {},
	"tools/laws":       {},
	"tools/inspect": {"engine/erasure", "engine/layout", "engine/meta", "engine/meta/pebblemeta", "engine/seal",
		"engine/seal/keyring", "engine/seal/kms"},
	"tools/crash":    {"s3fast/sigv4", "tools/freeport"},
	"tools/clients":  {},
	"tools/freeport": {},
}

// onlyIn lists dependencies that one place of Sluice may use.
var onlyIn = map[string][]string{
	"github.com/pawelgaczynski/giouring": {"ioring"},
	"github.com/cockroachdb/pebble":      {"engine/meta/pebblemeta", "engine/meta/pebblemeta/faultfs", "engine/meta/pebblemeta/mirrorfs"},
	"github.com/valyala/fasthttp":        {"s3fast", "daemon", "bench"},
	"github.com/go-jose/go-jose/v4":      {"s3fast/oidc"},
}

// source is one parsed Go file.
type source struct {
	path string // slash-separated, relative to root
	pkg  string // its folder
	test bool
	ast  *ast.File
	size int // lines
}

func load(t *testing.T) ([]source, *token.FileSet) {
	t.Helper()
	fset := token.NewFileSet()
	var out []source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "var" || name == "bin") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(fset, path, text, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		out = append(out, source{
			path: rel, pkg: strings.TrimSuffix(rel[:len(rel)-len(name)], "/"),
			test: strings.HasSuffix(name, "_test.go"), ast: file, size: strings.Count(string(text), "\n"),
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 50 {
		t.Fatalf("only %d Go files found below %s: the walk is broken", len(out), root)
	}
	return out, fset
}

func imports(s source) []string {
	var out []string
	for _, spec := range s.ast.Imports {
		out = append(out, strings.Trim(spec.Path.Value, `"`))
	}
	return out
}

func TestImportsGoOneWay(t *testing.T) {
	sources, _ := load(t)
	for _, s := range sources {
		allowed, known := mayImport[s.pkg]
		if !known {
			t.Errorf("%s: package %q is not in the import law; add it with what it may import", s.path, s.pkg)
			continue
		}
		if s.test {
			continue
		}
		for _, path := range imports(s) {
			inner, ours := strings.CutPrefix(path, module+"/")
			if ours && !slices.Contains(allowed, inner) {
				t.Errorf("%s imports %s, which %s may not", s.path, inner, s.pkg)
			}
		}
	}
}

func TestDependenciesStayInTheirPlace(t *testing.T) {
	sources, _ := load(t)
	for _, s := range sources {
		if s.test {
			continue
		}
		for _, path := range imports(s) {
			for dep, places := range onlyIn {
				if (path == dep || strings.HasPrefix(path, dep+"/")) && !slices.Contains(places, s.pkg) {
					t.Errorf("%s imports %s: only %v may", s.path, path, places)
				}
			}
		}
	}
}

func TestOneFileTouchesTheRingLibrary(t *testing.T) {
	sources, _ := load(t)
	var users []string
	for _, s := range sources {
		if slices.Contains(imports(s), "github.com/pawelgaczynski/giouring") {
			users = append(users, s.path)
		}
	}
	if len(users) != 1 {
		t.Errorf("giouring is imported by %v: one file of ioring keeps it replaceable", users)
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	sources, _ := load(t)
	documented := map[string]bool{}
	for _, s := range sources {
		if s.test {
			continue
		}
		documented[s.pkg] = documented[s.pkg] || strings.HasSuffix(s.path, "/doc.go") && s.ast.Doc != nil
	}
	for pkg, ok := range documented {
		if !ok {
			t.Errorf("%s has no doc.go with a package comment", pkg)
		}
	}
}

func TestSizesAndShapes(t *testing.T) {
	sources, fset := load(t)
	for _, s := range sources {
		if !s.test && s.size > maxFileLines {
			t.Errorf("%s has %d lines, more than %d", s.path, s.size, maxFileLines)
		}
		for _, decl := range s.ast.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if fn.Name.Name == "init" && fn.Recv == nil {
				t.Errorf("%s has an init function", s.path)
			}
			lines := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line
			if !s.test && lines > maxFuncLines {
				t.Errorf("%s: %s has %d lines, more than %d", s.path, fn.Name.Name, lines, maxFuncLines)
			}
		}
	}
}
