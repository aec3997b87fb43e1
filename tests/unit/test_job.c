/* The processes of a job: real ones, on the loopback. They gather, are killed, stopped, late, never there, or not
** of the job; whatever happens, everybody knows within a second of the deadline, and by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "memory.h"
#include "processes.h"

/* ---- all goes well ---- */

static void gather_much(work *w) {
  mxg_error err = {0};
  mxg_job *job = join(w, &err);
  uint64_t counts[most_processes];
  bool right = job != NULL;
  for (unsigned round = 0; round < 50 && right && err.status == MXG_OK; round++) {
    uint32_t own[3] = {w->rank, round, w->rank * round}, all[most_processes * 3];
    double deadline = mxg_now() + 20;
    if (mxg_job_gather(job, "the numbers", own, sizeof own, all, deadline, &err) != MXG_OK) break;
    for (uint32_t p = 0; p < w->world; p++)
      right = right && all[p * 3] == p && all[p * 3 + 1] == round && all[p * 3 + 2] == p * round;
    /* Unequal: process p gives p * 100,000 bytes of p, so that they do not fit what a socket holds. */
    size_t bytes = (size_t)w->rank * 100000;
    unsigned char *mine = malloc(bytes + 1);
    void *got = NULL;
    memset(mine, (int)w->rank, bytes + 1);
    if (mxg_job_gather_any(job, "the bytes", mine, bytes, &got, counts, deadline, &err) == MXG_OK) {
      const unsigned char *at = got;
      for (uint32_t p = 0; p < w->world; p++) {
        right = right && counts[p] == (uint64_t)p * 100000;
        for (uint64_t i = 0; right && i < counts[p]; i++) right = *at++ == p;
      }
    }
    mxg_free(got);
    free(mine);
    if (err.status == MXG_OK) (void)mxg_job_barrier(job, "the end", deadline, &err);
    if (err.status == MXG_OK) (void)mxg_job_look(job, &err);
  }
  tell(w, &err);
  if (!right) tell_wrong(w, "a part is not its process's");
  mxg_job_free(job);
}

static void all_get_what_all_gave(void **state) {
  (void)state;
  static const uint32_t worlds[] = {1, 2, 5, 8};
  for (size_t i = 0; i < sizeof worlds / sizeof *worlds; i++) {
    team t;
    begin(&t);
    for (uint32_t p = worlds[i]; p-- > 0;) start(&t, gather_much, p, worlds[i], 20000, 0);
    for (uint32_t p = 0; p < worlds[i]; p++) {
      result r = receive(&t);
      if (r.status != MXG_OK) fail_msg("process %u: %s", r.rank, r.text);
    }
    finish(&t);
  }
}

/* ---- loss ---- */

static void meet_for_ever(work *w) {
  mxg_error err = {0};
  mxg_job *job = join(w, &err);
  while (job && err.status == MXG_OK) {
    double began = mxg_now();
    (void)mxg_job_barrier(job, "the meeting", began + w->timeout_ms * 1e-3, &err);
    w->out->seconds = mxg_now() - began;
    w->out->rounds++;
  }
  tell(w, &err);
  mxg_error again = {0};
  if (job && mxg_job_look(job, &again) != err.status) tell_wrong(w, "a broken job works again");
  if (job &&
      (mxg_job_barrier(job, "the meeting", mxg_now() + 30, &again) != err.status || strcmp(again.text, err.text) != 0))
    tell_wrong(w, "a broken job has another error");
  mxg_job_free(job);
}

static bool names(const char *text, uint32_t process) {
  char word[32];
  snprintf(word, sizeof word, "process %u ", process);
  return strstr(text, word) != NULL;
}

static void expect_loss(team *t, uint32_t world, uint32_t lost, double longest) {
  for (uint32_t p = 0; p + 1 < world; p++) {
    result r = receive(t);
    if (r.status != MXG_ERR_TIMEOUT || !names(r.text, lost) || r.seconds > longest || r.rounds == 0)
      fail_msg("process %u, of %u, after %u rounds in %.3f s: %s: %s", r.rank, lost, r.rounds, r.seconds,
               mxg_status_name(r.status), r.text);
  }
}

static void a_killed_process_is_named_at_once(void **state) {
  (void)state;
  unsigned seed = 7;
  for (int turn = 0; turn < 12; turn++) {
    uint32_t world = 2 + (uint32_t)turn % 3, victim = (uint32_t)turn % world;
    team t;
    begin(&t);
    for (uint32_t p = 0; p < world; p++) start(&t, meet_for_ever, p, world, 20000, 0);
    pause_ms(100 + (seed = seed * 1103515245 + 12345) / 65536 % 100);
    kill(t.pids[victim], SIGKILL);
    expect_loss(&t, world, victim, 1.0);
    finish(&t);
  }
}

static void a_stopped_process_is_named_at_the_deadline(void **state) {
  (void)state;
  for (uint32_t victim = 0; victim < 3; victim++) {
    team t;
    begin(&t);
    for (uint32_t p = 0; p < 3; p++) start(&t, meet_for_ever, p, 3, 1000, 0);
    pause_ms(150);
    kill(t.pids[victim], SIGSTOP);
    double began = mxg_now();
    expect_loss(&t, 3, victim, 2.0);
    assert_true(mxg_now() - began > 0.9);
    assert_true(mxg_now() - began < 2.2);
    kill(t.pids[victim], SIGCONT); /* it finds itself forgotten, and says so */
    result r = receive(&t);
    assert_int_equal(r.rank, victim);
    assert_int_equal(r.status, MXG_ERR_TIMEOUT);
    finish(&t);
  }
}

static void look_until_lost(work *w) {
  mxg_error err = {0};
  mxg_job *job = join(w, &err);
  double began = mxg_now();
  w->out->rounds = 1;
  while (job && mxg_now() < began + 20 && mxg_job_look(job, &err) == MXG_OK) pause_ms(1);
  w->out->seconds = mxg_now() - began;
  tell(w, &err);
  mxg_job_free(job);
}

static void who_looks_sees_a_loss(void **state) {
  (void)state;
  for (uint32_t victim = 0; victim < 3; victim++) {
    team t;
    begin(&t);
    for (uint32_t p = 0; p < 3; p++) start(&t, look_until_lost, p, 3, 20000, 0);
    pause_ms(200);
    kill(t.pids[victim], SIGKILL);
    expect_loss(&t, 3, victim, 2.0);
    finish(&t);
  }
}

static void join_only(work *w) {
  mxg_error err = {0};
  mxg_job *job = join(w, &err);
  tell(w, &err);
  if (job && err.status == MXG_OK && mxg_job_barrier(job, "the end", mxg_now() + 20, &err) != MXG_OK) tell(w, &err);
  mxg_job_free(job);
}

static void one_that_never_starts_is_named(void **state) {
  (void)state;
  for (uint32_t absent = 0; absent < 3; absent++) {
    team t;
    begin(&t);
    for (uint32_t p = 0; p < 3; p++)
      if (p != absent) start(&t, join_only, p, 3, 700, 0);
    for (int i = 0; i < 2; i++) {
      result r = receive(&t);
      if (r.status != MXG_ERR_TIMEOUT || r.code != 661 || !names(r.text, absent) || r.seconds < 0.69 || r.seconds > 1.7)
        fail_msg("process %u without %u, %.3f s: %s", r.rank, absent, r.seconds, r.text);
    }
    finish(&t);
  }
}

static void one_that_is_late_is_waited_for(void **state) {
  (void)state;
  for (uint32_t slow = 0; slow < 3; slow++) {
    team t;
    begin(&t);
    for (uint32_t p = 0; p < 3; p++)
      if (p != slow) start(&t, join_only, p, 3, 20000, 0);
    pause_ms(400);
    start(&t, join_only, slow, 3, 20000, 0);
    for (int i = 0; i < 3; i++) {
      result r = receive(&t);
      if (r.status != MXG_OK) fail_msg("process %u: %s", r.rank, r.text);
    }
    finish(&t);
  }
}

/* The survivors free what they have, and meet again with a new process in the place of the lost one. */
static void meet_twice(work *w) {
  mxg_error err = {0};
  mxg_job *job = join(w, &err);
  while (job && err.status == MXG_OK && w->extra == 0) (void)mxg_job_barrier(job, "the meeting", mxg_now() + 20, &err);
  if (w->extra == 0) {
    mxg_job_free(job);
    memset(&err, 0, sizeof err);
    job = join(w, &err);
  }
  for (int i = 0; i < 20 && job && err.status == MXG_OK; i++)
    (void)mxg_job_barrier(job, "the second meeting", mxg_now() + 20, &err);
  tell(w, &err);
  mxg_job_free(job);
}

static void survivors_start_anew_in_their_processes(void **state) {
  (void)state;
  for (uint32_t victim = 0; victim < 3; victim++) {
    team t;
    begin(&t);
    for (uint32_t p = 0; p < 3; p++) start(&t, meet_twice, p, 3, 20000, 0);
    pause_ms(150);
    kill(t.pids[victim], SIGKILL);
    waitpid(t.pids[victim], NULL, 0);
    start(&t, meet_twice, victim, 3, 20000, 1);
    for (int i = 0; i < 3; i++) {
      result r = receive(&t);
      if (r.status != MXG_OK) fail_msg("process %u, %u was lost: %s", r.rank, victim, r.text);
    }
    finish(&t);
  }
}

/* ---- those that do not belong ---- */

static int knock(unsigned port) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  for (int i = 0; i < 200; i++) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&at, sizeof at) == 0) return fd;
    close(fd);
    pause_ms(10);
  }
  return -1;
}

static void strangers_change_nothing(void **state) {
  (void)state;
  static const char words[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
  team t;
  begin(&t);
  start(&t, join_only, 0, 2, 20000, 0);
  int silent = knock(t.port), loud = knock(t.port), half = knock(t.port);
  assert_true(silent >= 0 && loud >= 0 && half >= 0);
  assert_int_equal(write(loud, words, sizeof words), sizeof words);
  assert_int_equal(write(half, "MX", 2), 2);
  char byte;
  (void)!read(loud, &byte, 1); /* it is sent away */
  start(&t, join_only, 1, 2, 20000, 0);
  for (int i = 0; i < 2; i++) {
    result r = receive(&t);
    if (r.status != MXG_OK) fail_msg("process %u: %s", r.rank, r.text);
  }
  close(silent);
  close(loud);
  close(half);
  finish(&t);
  begin(&t);
  start(&t, join_only, 0, 2, 800, 0);
  loud = knock(t.port);
  assert_int_equal(write(loud, words, sizeof words), sizeof words);
  result r = receive(&t);
  assert_int_equal(r.status, MXG_ERR_TIMEOUT);
  assert_non_null(strstr(r.note, "1 connection came from something that is no process of mxgen"));
  close(loud);
  finish(&t);
}

static void a_process_of_another_job_is_refused(void **state) {
  (void)state;
  team t;
  begin(&t);
  start(&t, join_only, 0, 2, 2000, 0);
  start(&t, join_only, 3, 4, 20000, 0);
  result r = receive(&t);
  assert_int_equal(r.rank, 3);
  assert_int_equal(r.status, MXG_ERR_USAGE);
  assert_int_equal(r.code, 662);
  assert_non_null(strstr(r.text, "process 0 waits for 2 processes, this one (process 3) is of a job of 4"));
  r = receive(&t);
  assert_int_equal(r.status, MXG_ERR_TIMEOUT);
  assert_non_null(strstr(r.text, "process 1 did not come"));
  assert_non_null(strstr(r.note, "refused: process 0 waits for 2 processes"));
  finish(&t);
  begin(&t);
  start(&t, join_only, 0, 3, 2000, 0);
  start(&t, join_only, 1, 3, 20000, 0);
  pause_ms(200);
  pid_t first = t.pids[1];
  start(&t, join_only, 1, 3, 20000, 0);
  r = receive(&t);
  assert_int_equal(r.status, MXG_ERR_USAGE);
  assert_non_null(strstr(r.text, "process 1 of 3 is there already"));
  kill(first, SIGKILL);
  waitpid(first, NULL, 0);
  finish(&t);
}

static void what_is_no_job_is_told(void **state) {
  (void)state;
  struct sockaddr_in at = {.sin_family = AF_INET};
  team t;
  begin(&t);
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  at.sin_port = htons((uint16_t)t.port);
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
  assert_int_equal(listen(listener, 4), 0);
  start(&t, join_only, 0, 2, 5000, 0);
  result r = receive(&t);
  assert_int_equal(r.code, 663);
  assert_non_null(strstr(r.text, "cannot listen on port"));
  start(&t, join_only, 1, 2, 5000, 0);
  int fd = accept(listener, NULL, NULL);
  assert_int_equal(write(fd, "SSH-2.0-OpenSSH\r\n", 17), 17);
  r = receive(&t);
  assert_int_equal(r.code, 663);
  assert_non_null(strstr(r.text, "is no process of mxgen"));
  close(fd);
  close(listener);
  finish(&t);
}

/* ---- processes that disagree ---- */

static void take_another_way(work *w) {
  mxg_error err = {0};
  mxg_job *job = join(w, &err);
  uint32_t own[4] = {0}, all[4 * most_processes];
  if (job && w->extra == 0)
    (void)mxg_job_barrier(job, w->rank == 2 ? "the other way" : "the way", mxg_now() + 20, &err);
  else if (job)
    (void)mxg_job_gather(job, "the numbers", own, w->rank == 2 ? 8 : 16, all, mxg_now() + 20, &err);
  tell(w, &err);
  mxg_job_free(job);
}

static void different_calls_fail_everywhere(void **state) {
  (void)state;
  for (int sizes = 0; sizes < 2; sizes++) {
    team t;
    begin(&t);
    for (uint32_t p = 0; p < 3; p++) start(&t, take_another_way, p, 3, 20000, sizes);
    for (int i = 0; i < 3; i++) {
      result r = receive(&t);
      assert_int_equal(r.status, MXG_ERR_USAGE);
      assert_int_equal(r.code, 664);
      assert_non_null(strstr(r.text, sizes ? "process 0 gives 16 bytes to the numbers, process 2 gives 8"
                                           : "process 0 is at the way, process 2 at the other way"));
    }
    finish(&t);
  }
}

static void fail_alone(work *w) {
  mxg_error err = {0}, own = {0};
  mxg_job *job = join(w, &err);
  if (!job) {
    tell(w, &err);
    return;
  }
  mxg_job_label(job, 1, "rank 9");
  if (w->rank == 1) mxg_fail(&own, MXG_ERR_CUDA, 641, "the GPU is on fire");
  if (w->extra == 0) {
    (void)mxg_job_agree(job, "the end", &own, mxg_now() + 20, &err);
    mxg_error after = {0}; /* the job goes on */
    if (mxg_job_barrier(job, "after it", mxg_now() + 20, &after) != MXG_OK) err = after;
  } else if (w->rank == 1) {
    mxg_job_abort(job, &own);
    err = own;
  } else {
    (void)mxg_job_barrier(job, "the end", mxg_now() + 20, &err);
  }
  tell(w, &err);
  mxg_job_free(job);
}

static void a_failure_of_one_is_known_to_all(void **state) {
  (void)state;
  for (int aborts = 0; aborts < 2; aborts++) {
    team t;
    begin(&t);
    for (uint32_t p = 0; p < 3; p++) start(&t, fail_alone, p, 3, 20000, aborts);
    for (int i = 0; i < 3; i++) {
      result r = receive(&t);
      assert_int_equal(r.status, MXG_ERR_CUDA);
      assert_int_equal(r.code, 641);
      const char *want = r.rank == 1 ? "the GPU is on fire"
                         : aborts    ? "process 1 (rank 9) gave up: the GPU is on fire"
                                     : "process 1 (rank 9): the GPU is on fire";
      assert_string_equal(r.text, want);
    }
    finish(&t);
  }
}

/* ---- options ---- */

static void options_are_checked(void **state) {
  (void)state;
  mxg_job *job;
  mxg_error err;
  mxg_job_options options = MXG_JOB_INIT;
  unsetenv("RANK");
  unsetenv("WORLD_SIZE");
  unsetenv("MASTER_PORT");
  unsetenv("MXGEN_PORT");
  assert_int_equal(mxg_job_create(&job, &options, &err), MXG_ERR_USAGE);
  assert_non_null(strstr(err.text, "has no RANK"));
  setenv("RANK", "1x", 1);
  assert_int_equal(mxg_job_create(&job, &options, &err), MXG_ERR_USAGE);
  assert_string_equal(err.text, "RANK is '1x', not a number");
  setenv("RANK", "2", 1);
  setenv("WORLD_SIZE", "2", 1);
  assert_int_equal(mxg_job_create(&job, &options, &err), MXG_ERR_USAGE);
  assert_string_equal(err.text, "there is no process 2 in a job of 2");
  setenv("RANK", "1", 1);
  assert_int_equal(mxg_job_create(&job, &options, &err), MXG_ERR_USAGE);
  assert_non_null(strstr(err.text, "no MXGEN_PORT or MASTER_PORT"));
  setenv("MASTER_PORT", "65535", 1); /* and one more */
  assert_int_equal(mxg_job_create(&job, &options, &err), MXG_ERR_USAGE);
  assert_string_equal(err.text, "65536 is not a port");
  setenv("RANK", "0", 1);
  setenv("WORLD_SIZE", "1", 1);
  assert_int_equal(mxg_job_create(&job, &options, &err), MXG_OK); /* alone it needs no port */
  assert_int_equal(mxg_job_barrier(job, "nobody else", mxg_now(), &err), MXG_OK);
  mxg_job_free(job);
  options.size = 3;
  assert_int_equal(mxg_job_create(&job, &options, &err), MXG_ERR_USAGE);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(all_get_what_all_gave),
      cmocka_unit_test(a_killed_process_is_named_at_once),
      cmocka_unit_test(a_stopped_process_is_named_at_the_deadline),
      cmocka_unit_test(who_looks_sees_a_loss),
      cmocka_unit_test(one_that_never_starts_is_named),
      cmocka_unit_test(one_that_is_late_is_waited_for),
      cmocka_unit_test(survivors_start_anew_in_their_processes),
      cmocka_unit_test(strangers_change_nothing),
      cmocka_unit_test(a_process_of_another_job_is_refused),
      cmocka_unit_test(what_is_no_job_is_told),
      cmocka_unit_test(different_calls_fail_everywhere),
      cmocka_unit_test(a_failure_of_one_is_known_to_all),
      cmocka_unit_test(options_are_checked),
  };
  signal(SIGPIPE, SIG_IGN);
  return cmocka_run_group_tests_name("job", tests, NULL, NULL) != 0;
}
