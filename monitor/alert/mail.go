package alert

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"time"
)

// mailer is a channel that hands messages to a local command like sendmail -t, which
// reads the recipients from the message.
type mailer struct {
	named
	program program
	from    *mail.Address
	to      []*mail.Address
}

func (m *mailer) Send(ctx context.Context, a Alert) error {
	return m.program.run(ctx, nil, m.message(a.clean()))
}

// message is the alert as a message of RFC 5322. All that comes from outside stands in the
// body, or in the subject as encoded words. Its Message-ID follows from the alert's ID, so
// that a message that is sent twice can be recognized.
func (m *mailer) message(a Alert) []byte {
	var to []string
	for _, t := range m.to {
		to = append(to, t.String())
	}
	var b bytes.Buffer
	_, domain, _ := strings.Cut(m.from.Address, "@")
	id := sha256.Sum256([]byte(m.Name() + "\n" + a.ID))
	for _, h := range [][2]string{
		{"From", m.from.String()}, {"To", strings.Join(to, ",\n ")},
		{"Subject", mime.QEncoding.Encode("utf-8", fmt.Sprintf("[cratelog %s] %s", a.Class, clip(a.Summary, 200)))},
		{"Date", a.Time.Format(time.RFC1123Z)}, {"Message-ID", fmt.Sprintf("<%x@%s>", id[:16], domain)},
		{"Auto-Submitted", "auto-generated"}, {"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=utf-8"}, {"Content-Transfer-Encoding", "quoted-printable"},
	} {
		fmt.Fprintf(&b, "%s: %s\n", h[0], h[1])
	}
	b.WriteByte('\n')
	var body bytes.Buffer
	q := quotedprintable.NewWriter(&body)
	q.Write([]byte(a.body())) // a bytes.Buffer does not fail
	q.Close()
	b.Write(bytes.ReplaceAll(body.Bytes(), []byte("\r\n"), []byte("\n"))) // a local command takes local lines
	return b.Bytes()
}
