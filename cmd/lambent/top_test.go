package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	lambentapi "lambent.dev/lambent/internal/api/lambent"
)

// activity is n functions, the last of which is called most and the first is the largest.
func activity(n int, at int64) (a lambentapi.GetActivityOutput) {
	a = lambentapi.GetActivityOutput{Region: "eu-test-1", Now: at, ConcurrencyLimit: 1000}
	for i := range n {
		a.Functions = append(a.Functions, lambentapi.FunctionActivity{
			Name: fmt.Sprintf("function-%04d", i), Invocations: int64(i) * at / 1000, DurationMs: float64(i) * float64(at) / 100, Memory: int64(n-i) << 20, Idle: 1,
		})
	}
	return a
}

// at is a model that has looked twice, a second apart.
func at(n int) topModel {
	column, _ := columnNamed("rate")
	return newTop(nil, time.Second, column).seen(activity(n, 1000)).seen(activity(n, 2000))
}

func press(m topModel, keys ...tea.KeyPressMsg) (topModel, tea.Cmd) {
	var cmd tea.Cmd
	for _, k := range keys {
		var next tea.Model
		next, cmd = m.Update(k)
		m = next.(topModel)
	}
	return m, cmd
}

func key(r rune) tea.KeyPressMsg { return tea.KeyPressMsg{Code: r, Text: string(r)} }

func resized(m topModel, w, h int) topModel {
	next, _ := m.Update(tea.WindowSizeMsg{Width: w, Height: h})
	return next.(topModel)
}

// first is the function on top of the table.
func first(m topModel) string { return m.rows[m.offset].Name }

func TestTopRates(t *testing.T) {
	m := at(3)
	if r := m.rows[0]; r.Name != "function-0002" || r.rate != 2 || r.mean != 10 {
		t.Errorf("on top %+v", r)
	}
	if m.rate != 3 {
		t.Errorf("in all %v/s", m.rate)
	}
	// The server was started anew: nothing is known of the time between.
	again := activity(3, 3000)
	again.Started = 2500
	if m = m.seen(again); m.rate != 0 {
		t.Errorf("after a start %v/s", m.rate)
	}
}

func TestTopSorts(t *testing.T) {
	m := at(5)
	for _, tc := range []struct {
		key  rune
		want string
	}{{'m', "function-0000"}, {'m', "function-0004"}, {'r', "function-0004"}, {'r', "function-0000"}, {'n', "function-0000"}, {'n', "function-0004"}, {'e', "function-0000"}} {
		if m, _ = press(m, key(tc.key)); first(m) != tc.want {
			t.Errorf("after %c: %s", tc.key, first(m))
		}
	}
}

// TestTopFits: with 1,000 functions every line and the whole fit into any window, and one can
// get to every row.
func TestTopFits(t *testing.T) {
	m := at(1000)
	for _, s := range [][2]int{{80, 24}, {200, 60}, {40, 10}, {10, 3}, {1, 1}} {
		m = resized(m, s[0], s[1])
		for _, line := range strings.Split(strings.TrimSuffix(m.render(), "\n"), "\n") {
			if w := ansi.StringWidth(line); w > s[0] {
				t.Errorf("%v: a line of %d columns", s, w)
			}
		}
		if n := strings.Count(m.render(), "\n"); n > max(s[1], headLines) {
			t.Errorf("%v: %d lines", s, n)
		}
	}
	m = resized(m, 120, 24)
	m, _ = press(m, tea.KeyPressMsg{Code: tea.KeyEnd})
	if !strings.Contains(m.render(), "function-0000") {
		t.Error("the last row cannot be reached")
	}
	m = resized(m, 120, 2000)
	if m.offset != 0 || strings.Count(m.render(), "function-") != 1000 {
		t.Error("a large window does not show all")
	}
	m, _ = press(resized(m, 120, 24), tea.KeyPressMsg{Code: tea.KeyPgDown}, tea.KeyPressMsg{Code: tea.KeyUp}, tea.KeyPressMsg{Code: tea.KeyHome}, tea.KeyPressMsg{Code: tea.KeyUp})
	if m.offset != 0 {
		t.Errorf("above the first row: %d", m.offset)
	}
}

// TestTopGoesOn: a look that fails is shown and does not end the view; q does.
func TestTopGoesOn(t *testing.T) {
	m := at(2)
	next, cmd := m.Update(lookedMsg{err: errors.New("connection refused")})
	m = next.(topModel)
	if cmd == nil || !strings.Contains(m.render(), "no answer: connection refused") || !strings.Contains(m.render(), "function-0001") {
		t.Errorf("after an error: %s", m.render())
	}
	next, _ = m.Update(lookedMsg{activity: activity(2, 3000)})
	if m = next.(topModel); strings.Contains(m.render(), "no answer") || m.rate != 1 {
		t.Errorf("after it: %s", m.render())
	}
	_, cmd = press(m, key('q'))
	if cmd == nil {
		t.Fatal("q does nothing")
	}
	if _, ok := cmd().(tea.QuitMsg); !ok {
		t.Error("q does not quit")
	}
}

func BenchmarkTop(b *testing.B) {
	m, a := resized(at(1000), 120, 40), activity(1000, 3000)
	for b.Loop() {
		_ = m.seen(a).render()
	}
}
