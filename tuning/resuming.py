"""What an earlier process left of a sweep, made fit to go on from."""

from dataclasses import replace

from tuning.ledger import Ledger, TrialState


def take_up(ledger: Ledger) -> list[str]:
    """Have trials run again that were lost through no fault of theirs; before anybody reads them.

    Returns:
        What is said of each, in one line.
    """
    said = [
        f"trial {number}: its file is damaged, so its configuration is chosen anew"
        for number in ledger.set_damaged_aside()
    ]
    for trial in ledger.trials():
        # The population that a trial of `pbt` was part of is gone.
        if trial.lost and not trial.segments:
            again = replace(
                trial,
                state=TrialState.RUNNING,
                ended_at_s=None,
                reports=(),
                error=None,
                lost=False,
            )
            ledger.write_trial(again)
            said.append(f"trial {trial.number}: had lost its process, and runs again")
    return said
