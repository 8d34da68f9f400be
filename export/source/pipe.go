package source

import (
	"context"
	"io"
	"os"
	"syscall"
	"time"
)

// namedPipe: such a file is opened once; its writer would lose what it wrote
// to a first reader.
func namedPipe(name string) bool {
	st, err := os.Stat(name)
	return err == nil && st.Mode()&os.ModeNamedPipe != 0
}

// openPipe opens a named pipe, which waits for who writes to it, until ctx
// ends. So do the reads of what it returns.
func openPipe(ctx context.Context, name string) (io.ReadCloser, error) {
	type opened struct {
		f   *os.File
		err error
	}
	done := make(chan opened, 1)
	go func() { // ends with the first writer, who may be we
		f, err := os.Open(name)
		done <- opened{f, err}
	}()
	select {
	case o := <-done:
		if o.err != nil {
			return nil, o.err
		}
		return cancellable(ctx, o.f), nil
	case <-ctx.Done():
	}
	// Where the pipe cannot be written to, the goroutine waits on until the
	// process ends.
	if w, err := os.OpenFile(name, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
		if o := <-done; o.err == nil {
			o.f.Close()
		}
		w.Close()
	}
	return nil, ctx.Err()
}

// cancellable makes reads end with ctx. A regular file knows no deadline and
// needs none; a pipe may stay silent.
func cancellable(ctx context.Context, f *os.File) io.ReadCloser {
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	return &cancelled{f, stop}
}

type cancelled struct {
	*os.File
	stop func() bool
}

func (c *cancelled) Close() error {
	c.stop()
	return c.File.Close()
}

// A pipe reads what may block for ever, such as the standard input, until
// done. Its goroutine is then left waiting in the read: nothing can end that
// but the process, or the one who writes.
type pipe struct {
	done   <-chan struct{}
	chunks chan chunk
	free   chan []byte
	cur    chunk
	rest   []byte
}

type chunk struct {
	data []byte
	err  error
}

func newPipe(done <-chan struct{}, in io.Reader) *pipe {
	p := &pipe{done: done, chunks: make(chan chunk), free: make(chan []byte, 2)}
	p.free <- make([]byte, 64<<10)
	p.free <- make([]byte, 64<<10)
	go p.fill(in)
	return p
}

func (p *pipe) fill(in io.Reader) {
	for {
		buf := <-p.free
		n, err := in.Read(buf[:cap(buf)])
		select {
		case p.chunks <- chunk{buf[:n], err}:
		case <-p.done:
			return
		}
		if err != nil {
			return
		}
	}
}

func (p *pipe) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		if p.cur.err != nil {
			return 0, p.cur.err
		}
		if p.cur.data != nil {
			p.free <- p.cur.data
		}
		select {
		case p.cur = <-p.chunks:
			p.rest = p.cur.data
		case <-p.done:
			return 0, context.Canceled
		}
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}
