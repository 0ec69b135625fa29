package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	maxFunction = 60  // lines of a function, tests aside
	maxFile     = 600 // lines of a file
	maxNesting  = 4   // blocks within blocks
	maxFiles    = 20  // files of a package, tests aside
	maxImports  = 12  // packages of this module that one package imports, node aside
)

// TestSource reads every Go file of the module once and reports what breaks the house rules.
func TestSource(t *testing.T) {
	ex := readExceptions(t)
	fset := token.NewFileSet()
	for _, name := range goFiles(t) {
		file, err := parser.ParseFile(fset, filepath.Join(root, name), nil, parser.SkipObjectResolution|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if n := fset.File(file.Pos()).LineCount(); n > maxFile {
			ex.report(t, name, fmt.Sprintf("%d lines, more than %d", n, maxFile))
		}
		if !strings.HasSuffix(name, "_test.go") {
			checkFunctions(t, ex, fset, name, file)
		}
		checkStatements(t, ex, fset, name, file)
	}
	ex.unused(t)
}

// TestPackages checks docs, file counts and fan-out of every package.
func TestPackages(t *testing.T) {
	for _, p := range listPackages(t) {
		rel := strings.TrimPrefix(p.ImportPath, modulePath+"/")
		if p.Doc == "" && len(p.GoFiles) > 0 {
			t.Errorf("%s: no package doc", rel)
		}
		if len(p.GoFiles) > maxFiles {
			t.Errorf("%s: %d files, more than %d", rel, len(p.GoFiles), maxFiles)
		}
		inside := 0
		for _, imp := range p.Imports {
			if strings.HasPrefix(imp, modulePath) {
				inside++
			}
		}
		if inside > maxImports && rel != "internal/node" {
			t.Errorf("%s: imports %d packages of this module, more than %d", rel, inside, maxImports)
		}
		switch last := rel[strings.LastIndex(rel, "/")+1:]; last {
		case "util", "utils", "common", "types", "models", "helpers", "shared", "misc":
			t.Errorf("%s: a package is a noun of the domain, not %q", rel, last)
		}
	}
}

func checkFunctions(t *testing.T, ex *exceptions, fset *token.FileSet, name string, file *ast.File) {
	for _, d := range file.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		key := name + ":" + fn.Name.Name
		if n := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1; n > maxFunction {
			ex.report(t, key, fmt.Sprintf("%d lines, more than %d", n, maxFunction))
		}
		if n := nesting(fn.Body) - 1; n > maxNesting {
			ex.report(t, key, fmt.Sprintf("%d levels of nesting, more than %d", n, maxNesting))
		}
	}
}

// checkStatements refuses bare go statements outside lifecycle and sleeps in tests.
func checkStatements(t *testing.T, ex *exceptions, fset *token.FileSet, name string, file *ast.File) {
	test := strings.HasSuffix(name, "_test.go")
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			if !test && !strings.HasPrefix(name, "internal/lifecycle/") && !strings.HasPrefix(name, "runsc/") {
				ex.report(t, name, fmt.Sprintf("line %d: a bare go statement; use lifecycle", fset.Position(n.Pos()).Line))
			}
		case *ast.CallExpr:
			if test && isCall(n, "time", "Sleep") && !usesSynctest(file) {
				ex.report(t, name, fmt.Sprintf("line %d: a sleep in a test", fset.Position(n.Pos()).Line))
			}
			if !test && (isCall(n, "os", "Getenv") || isCall(n, "os", "LookupEnv")) && !strings.HasPrefix(name, "cmd/") {
				ex.report(t, name, fmt.Sprintf("line %d: reads the environment; only cmd does", fset.Position(n.Pos()).Line))
			}
		}
		return true
	})
}

func isCall(c *ast.CallExpr, pkg, fn string) bool {
	s, ok := c.Fun.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != fn {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == pkg
}

func usesSynctest(file *ast.File) bool {
	for _, imp := range file.Imports {
		if imp.Path.Value == `"testing/synctest"` {
			return true
		}
	}
	return false
}

// nesting counts the deepest chain of blocks in n, itself included.
func nesting(n ast.Node) int {
	deepest := 0
	ast.Inspect(n, func(c ast.Node) bool {
		if c == n || c == nil {
			return true
		}
		switch b := c.(type) {
		case *ast.FuncLit:
			return false // its body is a function of its own
		case *ast.BlockStmt:
			deepest = max(deepest, nesting(b))
			return false
		case *ast.IfStmt:
			// An else-if chain is one level, however long.
			deepest = max(deepest, nesting(b.Body))
			if b.Else != nil {
				deepest = max(deepest, nesting(&ast.BlockStmt{List: []ast.Stmt{b.Else}})-1)
			}
			return false
		}
		return true
	})
	return deepest + 1
}

const root = "../.."

func goFiles(t *testing.T) (names []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && p != root || d.Name() == "bin" || d.Name() == "testdata" || d.Name() == "node_modules"):
			return filepath.SkipDir
		case strings.HasSuffix(p, ".go"):
			rel, _ := filepath.Rel(root, p)
			names = append(names, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// exceptions are the lines of exceptions.txt: a file or file:function, then the reason.
type exceptions struct {
	reason map[string]string
	used   map[string]bool
}

func readExceptions(t *testing.T) *exceptions {
	t.Helper()
	b, err := os.ReadFile("exceptions.txt")
	if err != nil {
		t.Fatal(err)
	}
	ex := &exceptions{reason: map[string]string{}, used: map[string]bool{}}
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		key, reason, _ := strings.Cut(line, " ")
		if reason == "" {
			t.Errorf("exceptions.txt: %s has no reason", key)
		}
		ex.reason[key] = reason
	}
	return ex
}

func (ex *exceptions) report(t *testing.T, key, what string) {
	if _, ok := ex.reason[key]; ok {
		ex.used[key] = true
		return
	}
	t.Errorf("%s: %s", key, what)
}

func (ex *exceptions) unused(t *testing.T) {
	for key := range ex.reason {
		if !ex.used[key] {
			t.Errorf("exceptions.txt: nothing needs %s any more", key)
		}
	}
}
