package publish

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"cratelog/client"
	"cratelog/internal/fixture"
	"cratelog/internal/testlog"
)

// TestAVersionThatStandsInTheLogBeforeHasNoNumberHere: an answer without an index names no entry.
func TestAVersionThatStandsInTheLogBeforeHasNoNumberHere(t *testing.T) {
	l := testlog.New("log.example/2027", 1, nil)
	l.Intercept(testlog.Answer("/v1/submit", http.StatusConflict, []byte(`{"reason":"version-conflict","message":"as entry 7 of the log before"}`)))
	server := httptest.NewServer(l)
	defer server.Close()
	_, err := Submit(t.Context(), &client.Log{URL: server.URL}, Submission{
		Entry: testlog.Must(fixture.Entry(t, "hello-proof-0.1.0").Marshal()), Crate: fixture.Crate(t, "hello-proof", "0.1.0")})
	if err == nil || !strings.Contains(err.Error(), "publish the bytes that are logged, or a new version") ||
		strings.Contains(err.Error(), "entry 0") {
		t.Error(err)
	}
}
