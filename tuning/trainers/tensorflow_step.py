"""One step of training in Keras: in one process, or in several that each take a part of a batch.

Several workers compute what one would, but for the order in which floats are added: dropout
draws the whole batch's mask everywhere, from seeds that stay equal, of which a worker uses its
rows. So one worker's state resumes all of them.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuning.data import Labels
from tuning.trainers.trainer import Workers

Step = Callable[[NDArray[np.float32], Labels], float]
"""Trains on one batch of codes, the same in all workers, and returns its mean loss."""


def make_step(model: Any, workers: Workers) -> Step:
    """Build the step for as many workers as there are."""
    if workers.size > 1:
        return _make_joined_step(model, workers)
    return lambda rows, labels: float(model.train_on_batch(rows, labels))


@cache
def joined_strategy() -> Any:
    """Join this process with the other workers, by the addresses in `TF_CONFIG`.

    TensorFlow wants it before anything else is computed, and once in a process.
    """
    import tensorflow as tf  # noqa: PLC0415, costs seconds: only a process that trains pays

    return tf.distribute.MultiWorkerMirroredStrategy()


def _make_joined_step(model: Any, workers: Workers) -> Step:
    import keras  # noqa: PLC0415, as above
    import tensorflow as tf  # noqa: PLC0415, as above

    strategy = joined_strategy()
    model.optimizer.build(model.trainable_variables)
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(reduction="sum")

    def summed(values: Any) -> Any:
        here = [tf.identity(value) for value in values]  # a sum goes where its parts are placed
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, here)

    # Of any size, as workers that traced it at different times would wait for each other.
    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[
            tf.TensorSpec((None, *model.input_shape[1:]), tf.float32),
            tf.TensorSpec((None,), tf.int64),
            tf.TensorSpec((), tf.int32),
            tf.TensorSpec((), tf.int32),
        ]
    )
    def step(rows: Any, labels: Any, first: Any, n_rows: Any) -> Any:
        with tf.GradientTape() as tape:
            for layer in model.layers:
                if isinstance(layer, keras.layers.Dropout):
                    ones = tf.ones((n_rows, rows.shape[1]))
                    mask = layer(ones, training=True)
                    rows = rows * mask[first : first + tf.shape(rows)[0]]
                else:
                    rows = layer(rows)
            # Each worker adds its part of the batch, and its part of what weights cost.
            loss = cross_entropy(labels, rows) / tf.cast(n_rows, tf.float32)
            loss += tf.add_n(model.losses) / workers.size
        gradients = tape.gradient(loss, model.trainable_variables)
        loss, *gradients = strategy.run(summed, args=([loss, *gradients],))
        model.optimizer.apply(gradients, model.trainable_variables)
        return loss

    def train(rows: NDArray[np.float32], labels: Labels) -> float:
        share = workers.share(len(rows))
        # Whole numbers of Python's would make a trace for each.
        first, n_rows = np.int32(share.start), np.int32(len(rows))
        return float(step(rows[share], labels[share], first, n_rows))

    return train
