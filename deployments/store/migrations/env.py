"""How Alembic reaches the database: through the connection that the store hands it."""

from alembic import context

from deployments.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table="rayfleet_alembic_version",  # MLflow may keep its own in the same database
)
context.run_migrations()
