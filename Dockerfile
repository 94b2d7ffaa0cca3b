# The image of the job: `pipeline` and `tmg-etl`, their locked requirements, and nothing else.
#
#   invoke make-docker-image
#
# Builds with docker, podman and buildah alike. Base images: any with Python 3.11 or newer and its
# venv module, in both stages the same, because a virtual environment belongs to its interpreter.
ARG BASE=docker.io/library/python:3.11.16-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b


# The requirements, in an environment that never had an installer in it.
FROM ${BASE} AS dependencies
# A company's own package index: --build-arg PIP_INDEX_URL=…; nothing of this stage is in the image.
ARG PIP_INDEX_URL=
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1 UV_LINK_MODE=copy
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/sid
# Copied, not mounted: podman and buildah reuse a layer whatever a mounted file holds.
COPY sidPublisherJob/installer-requirements.txt script/uv.py /tmp/
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/build/bin/python -m pip install --quiet --no-deps --only-binary :all: --require-hashes \
        -r /tmp/installer-requirements.txt
COPY sidPublisherJob/requirements.txt /tmp/
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/build/bin/python /tmp/uv.py pip install --quiet --python /opt/sid/bin/python \
        --only-binary :all: --require-hashes -r /tmp/requirements.txt
# What nothing imports: the packages' own tests, commands, headers and sources, Arrow's network
# protocol, and Amazon's services but S3 and logins. Then bytecode that needs no check: files cannot change in an image.
RUN set -eu; find /opt/sid/bin -type f -delete; rm -f /opt/sid/.lock; \
    cd /opt/sid/lib/python3*/site-packages; \
    find . -depth -type d \( -name tests -o -name test \) -exec rm -rf {} +; \
    find . \( -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi' -o -name '*.pyi' -o -name '*.h' \
        -o -name '*.hpp' -o -name '*.a' -o -name '*.cc' \) -delete; \
    rm -rf pyarrow/include pyarrow/src pyarrow/*flight* boto3/data boto3/examples; \
    find . -mindepth 3 -maxdepth 3 -type d -path './botocore/data/*' ! -name s3 ! -name sts \
        ! -name 'sso*' ! -name signin -exec rm -rf {} +; \
    python3 -m compileall -q --invalidation-mode unchecked-hash /opt/sid/lib


# This project, as a wheel, put where it will stand.
FROM dependencies AS package
COPY sidPublisherJob/build-requirements.txt /tmp/
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/build/bin/python /tmp/uv.py pip install --quiet --python /opt/build/bin/python \
        --only-binary :all: --require-hashes -r /tmp/build-requirements.txt
COPY sidPublisherJob /tmp/project
# No time in the wheel, nor what uv notes of its file's: one commit gives the same bytes.
RUN set -eu; export SOURCE_DATE_EPOCH=315532800; \
    /opt/build/bin/uv build --quiet --offline --wheel --no-build-isolation \
        --python /opt/build/bin/python --out-dir /tmp/wheel /tmp/project; \
    /opt/build/bin/uv pip install --quiet --offline --no-deps --python /opt/sid/bin/python \
        --prefix /opt/package/opt/sid --no-index --find-links /tmp/wheel sidPublisherJob; \
    cd /opt/package/opt/sid/lib/python3*/site-packages; \
    rm -rf /opt/package/opt/sid/.lock tmg_etl/testing sidpublisherjob-*/uv_cache.json; \
    sed -i /uv_cache/d sidpublisherjob-*/RECORD; \
    python3 -m compileall -q --invalidation-mode unchecked-hash \
        -s /opt/package/ -p / /opt/package


# The base without what only builds need. It is copied as a whole into the image, so that what is
# removed here is in none of its layers.
FROM ${BASE} AS runtime
RUN set -eu; \
    for python in /usr/lib/python3* /usr/local/lib/python3*; do \
        [ -d "$python" ] || continue; \
        rm -rf "$python"/ensurepip "$python"/lib2to3 "$python"/idlelib "$python"/turtledemo \
            "$python"/tkinter "$python"/test "$python"/config-3* "$python"/pydoc_data \
            "$python"/site-packages/pip* "$python"/site-packages/setuptools* \
            "$python"/site-packages/wheel* "$python"/site-packages/_distutils_hack \
            "$python"/site-packages/distutils-precedence.pth; \
        find "$python" -depth -type d -name __pycache__ -exec rm -rf {} +; \
    done; \
    python3 -m compileall -q --invalidation-mode unchecked-hash \
        "$(python3 -c 'import os; print(os.path.dirname(os.__file__))')"; \
    rm -rf /usr/share/python-wheels /usr/local/bin/pip* /usr/local/bin/idle* /usr/local/bin/2to3* \
        /usr/local/bin/pydoc* /usr/local/bin/wheel /usr/local/include /usr/share/man \
        /usr/share/info /usr/share/locale /usr/share/lintian /var/cache /var/lib/apt/lists \
        /var/log /root/.cache /debootstrap; \
    find /usr/share/doc -type f ! -name copyright -delete; \
    find / -xdev -perm /6000 -type f -exec chmod a-s {} +; \
    mkdir -p /var/cache /var/log
# Of Debian's packages only those that own a file or library of Python's, and data that programs look
# up: no shell, no package manager, no perl. dpkg goes too; its list stays, for scanners.
RUN set -eu; command -v dpkg >/dev/null || exit 0; \
    python="$(python3 -c 'import os; print(os.path.dirname(os.__file__))')"; \
    program="$(command -v python3)"; \
    libraries="$(ldd "$(readlink -f "$program")" "$python"/lib-dynload/*.so /usr/lib/*/libstdc++.so.6 \
        | sed -n 's/.* => \(\/[^ ]*\).*/\1/p' | sort -u | xargs -n 1 readlink -f \
        | sed 's/.*\//*\//') */ld-linux*"; \
    keep="$(set -f; dpkg-query --search $libraries "$program" "$(readlink -f "$program")" \
            "$python"/os.py "$python"/ast.py "$python/lib-dynload/*" 2>/dev/null | sed 's/:.*//'; \
        echo base-files base-passwd ca-certificates libstdc++6 media-types netbase tzdata)"; \
    printf '%s\n' $keep >/tmp/keep; \
    rest="$(dpkg-query --show --showformat '${Package}\n' | grep -vxFf /tmp/keep)"; \
    find /usr/bin /usr/sbin -lname '/etc/alternatives/*' -delete; \
    rm -rf /etc/alternatives /tmp/keep /var/lib/dpkg/info/*.prerm /var/lib/dpkg/info/*.postrm; \
    dpkg --force-all --purge $rest >/dev/null 2>&1; \
    python3 -c 'import glob, os; [os.remove(name) for name in glob.glob("/var/lib/dpkg/*-old")]'


FROM scratch
COPY --from=runtime / /
COPY --from=dependencies /opt/sid /opt/sid
COPY --from=package /opt/package /

# A scratch image inherits nothing from the base. HOME is the one place a read-only container may
# write to: mount a tmpfs or an emptyDir at /tmp.
ENV PATH=/opt/sid/bin:/usr/local/bin:/usr/bin:/bin \
    LANG=C.UTF-8 HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

ARG BASE
ARG VERSION=0.0.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="sidPublisherJob" \
    org.opencontainers.image.description="Publish tables from a data lake to serving databases, verified and repeatable" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.created="${CREATED}" \
    org.opencontainers.image.source="${SOURCE}" \
    org.opencontainers.image.base.name="${BASE}"

# A number, not a name: Kubernetes can only then tell that it is not root.
USER 65532:65532
WORKDIR /tmp
# Exec form: Python is the first process, so SIGTERM reaches it.
ENTRYPOINT ["pipeline"]
CMD ["--help"]
