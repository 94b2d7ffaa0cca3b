"""The promises that are made, and the tests that break things to prove each of them.

A test is named by its file and function. The file is where the function is written: those of the
conformance suite run once for every kind of database.
"""

from __future__ import annotations

import dataclasses

_CRASH = "tests/crash/"
_SUITE = "tmg_etl/testing/conformance/"
_SECURITY = "tests/security/"


@dataclasses.dataclass(frozen=True)
class Promise:
    """One promise.

    Attributes:
        text: as a user reads it.
        faults: what is done to break it.
        tests: what proves it, as ``file::function``.
    """

    text: str
    faults: str
    tests: tuple[str, ...]


def _in(folder: str, **functions: str) -> tuple[str, ...]:
    """Names of tests, by their files without ``.py``: several functions are split by blanks."""
    return tuple(
        f"{folder}{file}.py::{name}" for file, names in functions.items() for name in names.split()
    )


PROMISES: dict[str, list[Promise]] = {
    "A full refresh": [
        Promise(
            "The target holds exactly the rows of the snapshot",
            "any number of rows, rows over rows, every publish",
            _in(
                _SUITE,
                row="test_a_refresh_gives_exactly_the_source test_any_number_of_rows_arrives",
            ),
        ),
        Promise(
            "Readers see the old rows or the new ones, and do not wait",
            "readers in a loop while a run publishes",
            _in(_SUITE, server="test_readers_see_the_old_rows_or_the_new_ones_and_never_wait")
            + _in(
                "tests/connectors/",
                test_files_crash="test_readers_never_see_a_missing_or_partial_folder",
            ),
        ),
        Promise(
            "An empty source wipes nothing unless that is written",
            "sources without rows",
            _in(
                _SUITE,
                row="test_an_empty_source_keeps_the_old_rows test_an_empty_source_creates_no_table",
                replace="test_an_empty_window_is_not_wiped_unless_allowed",
            ),
        ),
    ],
    "A delta": [
        Promise(
            "The latest version of a key wins, and never loses to an older one",
            "several versions, late and equally late ones",
            _in(
                _SUITE,
                upsert="test_the_latest_version_wins"
                " test_an_older_version_does_not_overwrite_a_newer_one"
                " test_different_rows_that_are_equally_late_are_refused",
            ),
        ),
        Promise(
            "Rows outside the window are not touched",
            "rows before, after and across the window's bounds",
            _in(
                _SUITE,
                upsert="test_rows_outside_the_window_are_not_touched",
                replace="test_the_window_becomes_exactly_the_source"
                " test_a_key_that_the_target_has_outside_the_window_is_refused",
            ),
        ),
    ],
    "Idempotent": [
        Promise(
            "The same run twice gives the same target",
            "every run again",
            _in(
                _SUITE,
                row="test_the_same_run_twice_gives_the_same_rows",
                upsert="test_the_same_run_twice_changes_nothing",
            ),
        )
    ],
    "Crash-safe": [
        Promise(
            "Killed at any instant, the target is the old state or the new one; the next run cleans"
            " up and succeeds",
            "`kill -9` before every statement of a run, in turn",
            _in(
                _CRASH,
                test_kill="test_killed_run_leaves_old_or_new_state"
                " test_killed_run_creates_a_target_that_is_whole",
                test_flaky="test_killed_at_any_call_leaves_old_or_new_state",
                test_bigquery="test_killed_run_leaves_old_or_new_state",
            ),
        ),
        Promise(
            "Whatever fails, the target is whole and the exit code tells the truth",
            "an error before every statement and at every call to a connection, in turn",
            _in(
                _CRASH,
                test_fault="test_error_at_any_point_leaves_old_or_new_state",
                test_flaky="test_any_call_that_fails_is_told_by_the_exit_code",
            ),
        ),
        Promise(
            "A lost connection is temporary; lost at the COMMIT, the run finds out what became of"
            " it",
            "the connection cut before and after every statement, in turn",
            _in(_CRASH, test_fault="test_lost_connection_is_temporary_and_heals"),
        ),
        Promise(
            "A server that restarts costs one retry",
            "restarts in the middle of the load and at the publish",
            _in(_CRASH, test_outage="test_server_restarted_under_a_run"),
        ),
        Promise(
            "A ledger that is lost costs a warning",
            "the ledger's database dropped, its file spoiled",
            _in(
                _CRASH,
                test_outage="test_ledger_that_goes_away_in_mid_run_costs_a_warning"
                " test_broken_ledger_file_costs_a_warning",
            ),
        ),
        Promise(
            "A full disk is temporary",
            "no file can grow, from every statement on, in turn",
            _in(_CRASH, test_outage="test_full_disk_at_any_point_is_temporary"),
        ),
        Promise(
            "SIGTERM ends a run within ten seconds and leaves nothing",
            "the signal before every statement, in turn",
            _in(_CRASH, test_fault="test_terminated_run_ends_in_time_and_leaves_nothing"),
        ),
        Promise(
            "SIGTERM ends a run within ten seconds also where nothing answers it any more",
            "every call to a connection hangs or freezes, in turn; servers that are suspended",
            _in(
                _CRASH,
                test_flaky="test_hanging_call_ends_when_the_run_is_stopped"
                " test_frozen_call_ends_all_the_same",
                test_outage="test_server_that_answers_nothing_does_not_keep_a_run_from_ending",
            ),
        ),
        Promise(
            "Leftovers go, whatever the clock says",
            "clocks a day fast and a day slow after a kill",
            _in(_CRASH, test_kill="test_leftovers_go_whatever_the_clock_says"),
        ),
    ],
    "Undone": [
        Promise(
            "A replaced table that is kept can be put back in one step",
            "`kill -9` before every statement of the run that keeps it, and of the rollback",
            _in(
                _CRASH,
                test_undo="test_killed_run_that_keeps_loses_nothing"
                " test_killed_rollback_loses_nothing",
            ),
        )
    ],
    "Several tables at once": [
        Promise(
            "The tables of a group are all old or all new; the next run cleans up and succeeds",
            "`kill -9`, an error, SIGTERM before the statements of a group's run, and the"
            " connection cut at its publish, in turn",
            _in(
                _CRASH,
                test_group="test_killed_group_leaves_all_tables_old_or_all_new"
                " test_error_at_any_point_of_a_group_leaves_all_old_or_all_new"
                " test_terminated_group_changes_nothing_or_has_published"
                " test_group_that_loses_its_connection_at_the_publish_finds_out_for_all",
            ),
        ),
        Promise(
            "Where one of them fails, none is published",
            "keys that occur twice, an empty source, a lock that is held, a stop, a row without the"
            " one that it refers to",
            _in(
                _SUITE,
                group="test_a_key_twice_in_one_keeps_all_as_they_were"
                " test_an_empty_source_keeps_all_as_they_were"
                " test_a_busy_member_keeps_all_as_they_were"
                " test_a_stop_keeps_all_as_they_were"
                " test_a_child_without_its_parent_keeps_all_as_they_were",
            ),
        ),
        Promise(
            "A rollback puts back all that a step replaced, or nothing of it",
            "`kill -9` at every moment of the rollback, a kept table that somebody changed, a lock"
            " that is held, a stop",
            _in(_CRASH, test_group_undo="test_killed_rollback_of_a_group_never_mixes_days")
            + _in(
                "tests/e2e/",
                test_group_undo="test_one_table_that_was_changed_keeps_all_from_being_put_back"
                " test_no_member_is_put_back_while_another_run_holds_one"
                " test_a_stop_puts_nothing_back",
            ),
        ),
        Promise(
            "Who joins them never sees two days",
            "readers in a loop while a group is published",
            _in(
                "tests/conformance/",
                test_group_reader="test_readers_that_join_tables_of_a_group_see_one_day"
                " test_a_transaction_sees_one_day_of_a_group_that_is_published_in_place",
            ),
        ),
    ],
    "Exclusive": [
        Promise(
            "Two runs on one target take turns, or the second stops with 75",
            "twenty processes at once",
            _in(
                _CRASH,
                test_concurrency="test_merges_at_once_lose_no_row"
                " test_swaps_at_once_leave_the_table_of_one_of_them",
            ),
        ),
        Promise(
            "A run that lost its lock cannot publish",
            "SIGSTOP at every statement in turn, the lock taken away, another run, SIGCONT",
            _in(
                _CRASH,
                test_suspend="test_run_that_lost_its_lock_while_suspended_never_publishes_over_another",
            ),
        ),
        Promise(
            "Different tables do not wait for each other",
            "two runs in one place",
            _in(_SUITE, failure="test_two_tables_of_one_place_do_not_wait_for_each_other"),
        ),
    ],
    "Proved": [
        Promise(
            "Any cell that differs from what was sent is found",
            "a cell changed behind the run's back, in a column of every type; rows lost; cells"
            " swapped",
            _in(
                _SUITE,
                value="test_a_changed_cell_is_found test_cells_that_changed_places_are_found",
                failure="test_rows_lost_on_the_way_are_found",
            ),
        ),
        Promise(
            "A value that does not fit is named with its row, and nothing is published",
            "values out of range, null and doubled keys",
            _in(
                _SUITE,
                failure="test_a_value_out_of_range test_a_null_key test_a_duplicate_key",
                server="test_a_value_that_does_not_fit_is_named",
            ),
        ),
        Promise(
            "A type that would lose data is refused before loading",
            "columns that narrow",
            _in(_SUITE, schema="test_types_that_would_lose_data_are_refused_before_loading"),
        ),
    ],
    "Bounded": [
        Promise(
            "Memory does not grow with the table, nor with what a file unpacks to",
            "large row groups, files that unpack a thousandfold",
            _in("tests/connectors/", test_files_window="test_memory_does_not_grow_with_a_row_group")
            + _in("tests/corpus/", test_corpus="test_a_bomb_fits_into_memory"),
        )
    ],
    "Whoever gives it what it should not get": [
        Promise(
            "A broken input ends with its exit code, one line, and the target as it was",
            "broken command lines, configs, CSV, JSON lines and Parquet files",
            _in("tests/corpus/", test_corpus="test_broken_input_is_refused"),
        ),
        Promise(
            "No name and no value is ever executed",
            "quotes, semicolons, reserved words, control characters in every name",
            _in(
                _SECURITY,
                test_identifier="test_odd_name_of_everything test_odd_name_of_a_column_alone"
                " test_any_names",
            ),
        ),
        Promise(
            "A secret reaches its database and nothing else",
            "odd passwords; a running process, its children, log and ledger searched for them",
            _in(
                _SECURITY,
                test_secret="test_any_password_connects_and_is_never_printed"
                " test_a_running_process_shows_no_secret"
                " test_a_bug_prints_its_traceback_without_the_secret",
            ),
        ),
        Promise(
            "A server that cannot prove who it is gets no password",
            "another authority, another name, no TLS",
            _in(_SECURITY, test_tls="test_postgres test_mysql"),
        ),
        Promise(
            "A config runs no code but that of its packages",
            "modules, attributes and paths outside of them",
            _in(_SECURITY, test_import="test_a_pipeline_outside_the_packages_is_not_imported"),
        ),
    ],
}


def tests() -> set[str]:
    """Return the names of all tests that prove a promise."""
    return {test for section in PROMISES.values() for promise in section for test in promise.tests}
