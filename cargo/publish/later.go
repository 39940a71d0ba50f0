package publish

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"cratelog/entry"
)

// listWait is how long the log is waited for to see what was uploaded, all in all.
const listWait = 15 * time.Minute

// backed returns the origin of the log if the publisher's own policy calls it registry-backed.
func (r *run) backed() string {
	if r.log == nil || r.policy == nil {
		return ""
	}
	for _, t := range r.policy.Trust {
		for _, l := range t.Policy.Logs() {
			if strings.TrimRight(l.URL, "/") == strings.TrimRight(r.log.URL, "/") && r.policy.RegistryBacked(l.Origin) {
				return l.Origin
			}
		}
	}
	return ""
}

// tellOrder tells in which order the crates that are left are logged and uploaded. The publisher's
// policy says so, and else the log itself, which is no more than a hint: what counts is how it answers.
func (r *run) tellOrder(ctx context.Context) {
	if r.log == nil || !slices.ContainsFunc(r.jobs, func(j *job) bool { return j.bundle == nil }) {
		return
	}
	if origin := r.backed(); origin != "" {
		r.Report.Status("Order", "upload, then log: the policy calls the log %s registry-backed", origin)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	list, _, err := r.log.UnverifiedRegistries(ctx)
	if err == nil && slices.Contains(list, entry.Registry(r.target.indexOf())) {
		r.Report.Status("Order", "upload, then log: so the log says of itself; registry-backed in zkp.toml can say so too")
		return
	}
	r.Report.Status("Order", "log, then upload; no policy calls the log registry-backed, so anybody can be the first to "+
		"log a name")
}

// mayLeave stops before an upload that nobody asked for, and tells of the time between.
func (r *run) mayLeave() error {
	var names []string
	for _, j := range r.jobs {
		if j.pending && !j.published {
			names = append(names, j.member.String())
		}
	}
	switch {
	case len(names) == 0:
		return nil
	case r.LogOnly:
		return fmt.Errorf("the log at %s takes only what the registry lists, which does not list %s yet\nall is proved and "+
			"checked, and nothing was logged: publish with \"cargo publish\", and run the same command again", r.log.URL,
			strings.Join(names, ", "))
	}
	r.Report.Status("Uploading", "%s before it is logged: the log has checked all else, and takes it when the registry "+
		"lists it",
		strings.Join(names, ", "))
	r.Report.Warn("until it is logged, in minutes, readers who require proofs of all crates cannot use it")
	return nil
}

// logRest logs what was waiting for the registry's index, as soon as the log sees it there.
func (r *run) logRest(ctx context.Context) error {
	if r.DryRun {
		return nil
	}
	wait, waited := r.testingOnlyWait, time.Duration(0)
	if wait == nil {
		wait = pause
	}
	for {
		var left *job
		for _, j := range r.jobs {
			if j.pending && (left == nil || j.again < left.again) {
				left = j
			}
		}
		if left == nil {
			break
		}
		d := max(left.again, time.Second)
		if waited+d > listWait {
			return unlogged(left, fmt.Errorf("the log at %s does not take it within %v: %w", r.log.URL, listWait, left.why))
		}
		r.Report.Status("Waiting", "%s: the log does not see it in the registry's index yet; it is asked again in %v "+
			"(waited %v)", left.member, d.Round(time.Second), waited.Round(time.Second))
		if err := wait(ctx, d); err != nil {
			return unlogged(left, err)
		}
		waited += d
		for _, j := range r.jobs {
			if j.pending {
				if err := r.submitOne(ctx, j); err != nil {
					return unlogged(j, err)
				}
			}
		}
	}
	switch {
	case !r.LogOnly:
	case slices.ContainsFunc(r.jobs, func(j *job) bool { return !j.published }):
		r.Report.Status("Finished", "logged, and not published: that is left to cargo publish")
	default:
		r.Report.Status("Finished", "logged; it was published before")
	}
	return nil
}

// unlogged says of an error what is left to do.
func unlogged(j *job, err error) error {
	if j.bundle != nil { // it is
		return err
	}
	return fmt.Errorf("%s is published, and not logged: %w\nreaders who require proofs of all crates cannot use it until "+
		"it is: run the same command again, and it goes on here", j.member, err)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
