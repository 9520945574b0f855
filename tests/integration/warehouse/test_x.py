import pytest
@pytest.mark.parametrize("i",range(10))
def test_a(database, i, settings):
    with database.connection() as c:
        assert c.execute("select count(*) from schema_migrations").fetchone()[0]>2
