package etcd

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"

	"go.uber.org/zap/zapcore"
)

// bridge hands the engine's log to ours: warnings and worse only, because it is talkative. While
// the engine stops it reports every closed socket as an error, so then only what ends the process
// is passed on.
type bridge struct {
	log      *slog.Logger
	fields   []zapcore.Field
	stopping *atomic.Bool
}

var _ zapcore.Core = (*bridge)(nil)

func (b *bridge) Enabled(l zapcore.Level) bool {
	least := zapcore.WarnLevel
	if b.stopping.Load() {
		least = zapcore.DPanicLevel
	}
	return l >= least && b.log.Enabled(context.Background(), level(l))
}

func (b *bridge) With(fields []zapcore.Field) zapcore.Core {
	return &bridge{log: b.log, fields: slices.Concat(b.fields, fields), stopping: b.stopping}
}

func (b *bridge) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if b.Enabled(e.Level) && !expected[e.Message] {
		return ce.AddCore(e, b)
	}
	return ce
}

// expected are warnings about what we chose, or about a folder so new that it has no version yet.
var expected = map[string]bool{
	"unable to set a member local address due to lack of suitable local addresses":         true,
	"Failed to detect schema version":                                                      true,
	"failed to update storage version":                                                     true,
	"Running http and grpc server on single port. This is not recommended for production.": true,
	"simple token is not cryptographically signed":                                         true,
}

func (b *bridge) Write(e zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range slices.Concat(b.fields, fields) {
		f.AddTo(enc)
	}
	attrs := make([]slog.Attr, 0, len(enc.Fields))
	for name, value := range enc.Fields {
		if text, ok := value.(string); ok && len(text) > maxField {
			value = text[:maxField] + "..."
		}
		attrs = append(attrs, slog.Any(name, value))
	}
	slices.SortFunc(attrs, func(a, b slog.Attr) int {
		if a.Key < b.Key {
			return -1
		}
		return 1
	})
	b.log.LogAttrs(context.Background(), level(e.Level), "etcd: "+e.Message, attrs...)
	return nil
}

// maxField bounds a value: the engine quotes whole transactions.
const maxField = 300

func (b *bridge) Sync() error { return nil }

func level(l zapcore.Level) slog.Level {
	switch {
	case l >= zapcore.ErrorLevel:
		return slog.LevelError
	case l == zapcore.WarnLevel:
		return slog.LevelWarn
	case l == zapcore.InfoLevel:
		return slog.LevelInfo
	default:
		return slog.LevelDebug
	}
}
