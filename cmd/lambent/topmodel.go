package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"

	lambentapi "lambent.dev/lambent/internal/api/lambent"
)

// headLines are the lines above the table's rows.
const headLines = 6

// A column is one that the table can be sorted by.
type column struct {
	key, name string
	compare   func(a, b topRow) int // the first to show is the greatest
}

var columns = []column{
	{"r", "rate", func(a, b topRow) int { return cmp.Compare(a.rate, b.rate) }},
	{"e", "errors", func(a, b topRow) int { return cmp.Compare(a.Errors+a.Faults, b.Errors+b.Faults) }},
	{"t", "throttles", func(a, b topRow) int { return cmp.Compare(a.Throttles, b.Throttles) }},
	{"m", "memory", func(a, b topRow) int { return cmp.Compare(a.Memory, b.Memory) }},
	{"d", "duration", func(a, b topRow) int { return cmp.Compare(a.mean, b.mean) }},
	{"v", "environments", func(a, b topRow) int { return cmp.Compare(a.environments(), b.environments()) }},
	{"n", "name", func(a, b topRow) int { return cmp.Compare(b.Name, a.Name) }},
}

func columnNamed(name string) (int, bool) {
	i := slices.IndexFunc(columns, func(c column) bool { return c.name == name })
	return i, i >= 0
}

// topRow is a function's line.
type topRow struct {
	lambentapi.FunctionActivity
	rate float64 // invocations a second since the look before
	mean float64 // milliseconds: of those, or of all if there were none
}

func (r topRow) environments() int64 { return r.Busy + r.Idle + r.Frozen + r.Starting }

// topModel is what is shown. Update and View are pure but for the commands they return.
type topModel struct {
	look  func() (lambentapi.GetActivityOutput, error)
	every time.Duration

	now           lambentapi.GetActivityOutput
	rows          []topRow // sorted
	rate          float64
	looked        bool
	err           error
	column        int
	ascending     bool
	offset        int // of the first row shown
	width, height int
	plain         bool // no colours, no keys
}

// lookedMsg is the answer of a look.
type lookedMsg struct {
	activity lambentapi.GetActivityOutput
	err      error
}

type lookMsg struct{}

func newTop(look func() (lambentapi.GetActivityOutput, error), every time.Duration, column int) topModel {
	return topModel{look: look, every: every, column: column, width: 100, height: 30}
}

// Init implements tea.Model.
func (m topModel) Init() tea.Cmd { return m.fetch }

func (m topModel) fetch() tea.Msg {
	a, err := m.look()
	return lookedMsg{a, err}
}

// Update implements tea.Model.
func (m topModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
		m.offset = m.clamp(m.offset)
	case lookedMsg:
		if m.err = msg.err; m.err == nil {
			m = m.seen(msg.activity)
		}
		return m, tea.Tick(m.every, func(time.Time) tea.Msg { return lookMsg{} })
	case lookMsg:
		return m, m.fetch
	case tea.KeyPressMsg:
		return m.pressed(msg.String())
	}
	return m, nil
}

func (m topModel) pressed(key string) (tea.Model, tea.Cmd) {
	page := max(1, m.room()-1)
	switch key {
	case "q", "esc", "ctrl+c":
		return m, tea.Quit
	case "up", "k":
		m.offset--
	case "down", "j":
		m.offset++
	case "pgup":
		m.offset -= page
	case "pgdown", "space":
		m.offset += page
	case "home":
		m.offset = 0
	case "end":
		m.offset = len(m.rows)
	default:
		if i := slices.IndexFunc(columns, func(c column) bool { return c.key == key }); i >= 0 {
			m.ascending = i == m.column && !m.ascending
			m.column, m.offset = i, 0
			m.rows = m.sorted(m.rows)
		}
	}
	m.offset = m.clamp(m.offset)
	return m, nil
}

// room is how many rows fit.
func (m topModel) room() int { return max(0, m.height-headLines-1) }

func (m topModel) clamp(offset int) int { return max(0, min(offset, len(m.rows)-m.room())) }

// seen takes a look in.
func (m topModel) seen(a lambentapi.GetActivityOutput) topModel {
	before := map[string]lambentapi.FunctionActivity{}
	span := time.Duration(0)
	if m.looked && a.Started == m.now.Started { // a server that was started anew counts from zero
		span = time.Duration(a.Now-m.now.Now) * time.Millisecond
		for _, f := range m.now.Functions {
			before[f.Name] = f
		}
	}
	rows := make([]topRow, 0, len(a.Functions))
	m.rate = 0
	for _, f := range a.Functions {
		r := topRow{FunctionActivity: f, mean: mean(f.DurationMs, f.Invocations)}
		b, ok := before[f.Name]
		// One that was deleted and made again counts from zero, too.
		if n := f.Invocations - b.Invocations; span > 0 && n > 0 && (ok || len(before) > 0) {
			r.rate = float64(n) / span.Seconds()
			r.mean = mean(f.DurationMs-b.DurationMs, n)
		}
		m.rate += r.rate
		rows = append(rows, r)
	}
	m.now, m.rows, m.looked = a, m.sorted(rows), true
	m.offset = m.clamp(m.offset)
	return m
}

func mean(total float64, n int64) float64 {
	if n <= 0 {
		return 0
	}
	return total / float64(n)
}

// sorted gives rows in the order of the column, equal ones by name.
func (m topModel) sorted(rows []topRow) []topRow {
	rows = slices.Clone(rows)
	compare := columns[m.column].compare
	slices.SortFunc(rows, func(a, b topRow) int {
		c := compare(b, a)
		if m.ascending {
			c = -c
		}
		return cmp.Or(c, cmp.Compare(a.Name, b.Name))
	})
	return rows
}

// View implements tea.Model.
func (m topModel) View() tea.View {
	v := tea.NewView(m.render())
	v.AltScreen = true
	return v
}

var (
	strong = lipgloss.NewStyle().Bold(true)
	head   = lipgloss.NewStyle().Reverse(true)
	bad    = lipgloss.NewStyle().Foreground(lipgloss.Red)
	faint  = lipgloss.NewStyle().Faint(true)
)

// render is the whole screen.
func (m topModel) render() string {
	if !m.looked {
		if m.err != nil {
			return m.line(bad, m.err.Error())
		}
		return m.line(faint, "looking ...")
	}
	var b strings.Builder
	a := m.now
	up := (time.Duration(a.Now-a.Started) * time.Millisecond).Truncate(time.Second)
	b.WriteString(m.line(strong, fmt.Sprintf("lambent %s  region %s  account %s  up %s", a.Version, a.Region, a.Account, up)))
	b.WriteString(m.line(lipgloss.NewStyle(), fmt.Sprintf("invocations  %.1f/s  %d of %d at once  %d waiting", m.rate, a.Concurrency, a.ConcurrencyLimit, a.Waiting)))
	b.WriteString(m.line(lipgloss.NewStyle(), fmt.Sprintf("environments  %d busy  %d idle  %d frozen  %d starting  memory %s, %s free, server %s",
		a.Busy, a.Idle, a.Frozen, a.Starting, size(a.Memory), size(a.MemoryFree), size(a.ServerMemory))))
	oldest := time.Duration(a.OldestEvent) * time.Millisecond
	events := fmt.Sprintf("events  %d waiting  %d running  oldest %s  %d retried  %d dropped    disk  %s of %s free",
		a.Events-a.EventsRunning, a.EventsRunning, oldest.Round(time.Second), a.EventsRetried, a.EventsDropped, size(a.DiskFree), size(a.DiskSize))
	if a.DiskFull {
		b.WriteString(m.line(bad, events+"  FULL"))
	} else {
		b.WriteString(m.line(lipgloss.NewStyle(), events))
	}
	b.WriteString(m.status())
	b.WriteString(m.table())
	return b.String()
}

// status is the line of faults and keys.
func (m topModel) status() string {
	switch {
	case m.err != nil:
		return m.line(bad, "no answer: "+m.err.Error())
	case m.plain:
		return m.line(faint, fmt.Sprintf("%d functions, by %s", len(m.rows), columns[m.column].name))
	}
	keys := make([]string, len(columns))
	for i, c := range columns {
		keys[i] = c.key + " " + c.name
	}
	return m.line(faint, fmt.Sprintf("%d functions, by %s   q quits   sort: %s", len(m.rows), columns[m.column].name, strings.Join(keys, ", ")))
}

// A cell is one of a row's; those that are wide only are left out of narrow windows.
type cell struct {
	head  string
	width int
	wide  bool
	text  func(topRow) string
}

var cells = []cell{
	{"RATE/S", 8, false, func(r topRow) string { return fmt.Sprintf("%.1f", r.rate) }},
	{"INVOKED", 8, false, func(r topRow) string { return fmt.Sprint(r.Invocations) }},
	{"ERRORS", 7, false, func(r topRow) string { return fmt.Sprint(r.Errors + r.Faults) }},
	{"THROTTLED", 9, true, func(r topRow) string { return fmt.Sprint(r.Throttles) }},
	{"COLD", 6, true, func(r topRow) string { return fmt.Sprint(r.ColdStarts) }},
	{"MEAN MS", 8, false, func(r topRow) string { return fmt.Sprintf("%.1f", r.mean) }},
	{"BUSY", 5, false, func(r topRow) string { return fmt.Sprint(r.Busy) }},
	{"IDLE", 5, true, func(r topRow) string { return fmt.Sprint(r.Idle) }},
	{"FROZEN", 6, true, func(r topRow) string { return fmt.Sprint(r.Frozen) }},
	{"START", 5, true, func(r topRow) string { return fmt.Sprint(r.Starting) }},
	{"WAIT", 5, true, func(r topRow) string { return fmt.Sprint(r.Waiting) }},
	{"MEMORY", 8, false, func(r topRow) string { return size(r.Memory) }},
}

// wideFrom is the width from which a window has all cells.
const wideFrom = 110

func (m topModel) table() string {
	show := slices.DeleteFunc(slices.Clone(cells), func(c cell) bool { return c.wide && m.width < wideFrom })
	name := m.width
	for _, c := range show {
		name -= c.width + 1
	}
	longest := 0
	for _, r := range m.rows {
		longest = max(longest, len(r.Name))
	}
	name = max(12, min(name, longest))
	line := func(first string, text func(cell) string) string {
		var b strings.Builder
		fmt.Fprintf(&b, "%-*s", name, short(first, name))
		for _, c := range show {
			fmt.Fprintf(&b, " %*s", c.width, text(c))
		}
		return b.String()
	}
	var b strings.Builder
	b.WriteString(m.line(head, line("FUNCTION", func(c cell) string { return c.head })))
	end := min(len(m.rows), m.offset+m.room())
	for _, r := range m.rows[min(m.offset, end):end] {
		style := lipgloss.NewStyle()
		if r.Faults > 0 {
			style = bad
		}
		b.WriteString(m.line(style, line(r.Name, func(c cell) string { return c.text(r) })))
	}
	return b.String()
}

// line is one line of the screen, never wider than it.
func (m topModel) line(style lipgloss.Style, text string) string {
	text = strings.TrimRight(short(strings.ReplaceAll(text, "\n", " "), m.width), " ")
	if !m.plain {
		text = style.Render(text)
	}
	return text + "\n"
}

// short cuts text to a width. Names of functions are ASCII.
func short(text string, width int) string {
	if r := []rune(text); len(r) > width {
		return string(r[:max(0, width-1)]) + "…"
	}
	return text
}

// size is a number of bytes for people.
func size(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GB", n>>30)
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GB", float64(n)/(1<<30))
	default:
		return fmt.Sprintf("%d MB", n>>20)
	}
}
