package logsite

import "testing"

// TestTheSettingsOfMeasurementsAreThoseOfThePrograms: a log starts with them, and admits what Make makes.
func TestTheSettingsOfMeasurementsAreThoseOfThePrograms(t *testing.T) {
	bin, dir := t.TempDir(), t.TempDir()
	if err := Build(t.Context(), bin); err != nil {
		t.Fatal(err)
	}
	subs, err := Make("test", 1, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Start(t.Context(), bin, dir, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Errorf("%v\n%s", err, s.Output)
		}
	}()
	c := Client("", 1)
	defer c.CloseIdleConnections()
	if status, body, err := Submit(c, s.URL, subs[0]); err != nil || status != 200 {
		t.Errorf("%d %v %s", status, err, body)
	}
	if n, err := s.CPU(); err != nil || n <= 0 || !s.Alive() {
		t.Errorf("%v s of processor time, %v", n, err)
	}
}
