"""The clock that a training with a number of minutes follows."""

from __future__ import annotations

import doctest

import pytest

from maskmed_nnu.nnunet.training import time_budget
from maskmed_nnu.nnunet.training.time_budget import (
    FIRST_EPOCH_ITERATIONS,
    FIRST_VALIDATION_ITERATIONS,
    MAX_VALIDATION_ITERATIONS,
    TimeBudget,
)


class Machine:
    """A clock, and iterations and validation_iterations that take their time on it."""

    def __init__(self, *, iteration: float, validation: float) -> None:
        self.now, self.iteration, self.validation = 1000.0, iteration, validation
        self.validation_iterations: list[int] = []

    def train(self, budget: TimeBudget, epochs: range, *, of: int) -> list[int]:
        done = []
        for epoch in epochs:
            done.append(budget.start_epoch(epochs_left=of - epoch))
            self.now += done[-1] * self.iteration
            budget.end_iterations(done[-1])
            self.now += budget.validation_iterations * self.validation
            self.validation_iterations.append(budget.validation_iterations)
        return done


def test_example():
    assert doctest.testmod(time_budget).failed == 0


@pytest.mark.parametrize(("iteration", "validation"), [(0.5, 4.0), (0.01, 0.0), (2.0, 20.0)])
def test_the_training_ends_with_the_budget(iteration, validation):
    machine = Machine(iteration=iteration, validation=validation)
    budget = TimeBudget(seconds=720, clock=lambda: machine.now)
    done = machine.train(budget, range(12), of=12)
    assert done[0] == FIRST_EPOCH_ITERATIONS
    assert budget.elapsed() == pytest.approx(720, abs=6 * iteration)
    assert budget.share() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(("validation", "expected"), [(0.1, MAX_VALIDATION_ITERATIONS), (1.5, 6), (30.0, 1)])
def test_validation_has_its_share_of_the_time(validation, expected):
    machine = Machine(iteration=0.1, validation=validation)
    budget = TimeBudget(seconds=720, clock=lambda: machine.now)
    machine.train(budget, range(12), of=12)
    assert machine.validation_iterations == [FIRST_VALIDATION_ITERATIONS] + 11 * [expected]


def test_a_machine_that_becomes_slower_gets_fewer_iterations():
    machine = Machine(iteration=0.5, validation=1.0)
    budget = TimeBudget(seconds=720, clock=lambda: machine.now)
    before = machine.train(budget, range(6), of=12)[-1]
    machine.iteration = 1.0
    after = machine.train(budget, range(6, 12), of=12)
    assert after[-1] < 0.6 * before
    assert budget.elapsed() == pytest.approx(720, rel=0.15)


def test_a_resumed_training_has_what_is_left():
    machine = Machine(iteration=0.5, validation=1.0)
    budget = TimeBudget(seconds=720, used=600.0, clock=lambda: machine.now)
    assert budget.elapsed() == 600
    machine.train(budget, range(10, 12), of=12)
    assert budget.elapsed() == pytest.approx(720, abs=3)


def test_a_budget_that_is_spent_still_makes_an_iteration():
    machine = Machine(iteration=5.0, validation=0.0)
    budget = TimeBudget(seconds=10, clock=lambda: machine.now)
    assert machine.train(budget, range(2), of=2) == [FIRST_EPOCH_ITERATIONS, 1]
    assert budget.share() == 1
